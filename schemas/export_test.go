package schemas

// Decimals is the table of currencies as it is written.
var Decimals = decimals
