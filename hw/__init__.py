"""What the machine is: the integer law that every implementation keeps bit for bit, boards, and engines on them."""
