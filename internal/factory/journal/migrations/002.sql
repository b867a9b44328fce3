-- How far a step that is running has come, for people.
ALTER TABLE step ADD COLUMN progress TEXT NOT NULL DEFAULT '';
