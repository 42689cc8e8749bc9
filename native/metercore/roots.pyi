"""Whose descendants belong to which slot, handed from whoever opens and finishes slots to whoever ticks; native code only."""
