"""What people look up or change in a namespace, behind the commands of ``dueq``."""
