"""What the project claims of its speed and size, each as a ratio taken in one run on one machine.

One file a claim. They know the other packages, and nothing knows them.
"""
