"""The store on servers without scripts: a transition is one transaction."""
