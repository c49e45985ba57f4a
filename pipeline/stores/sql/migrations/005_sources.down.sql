DROP TABLE findings;
DROP TABLE sources;
