package types

// Cell is an H3 index of a cell (https://h3geo.org).
type Cell uint64
