"""What the reaper does: gives back what was lost, and audits."""
