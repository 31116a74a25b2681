"""What is fitted once the weights stand: how sure a model is, and what it does not know."""
