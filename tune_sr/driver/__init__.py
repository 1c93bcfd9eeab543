"""The process that works on a study or trains one configuration. Imports all other parts."""
