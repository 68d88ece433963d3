package types

// The two tables below are facts of H3 (github.com/uber/h3, Apache-2.0, src/h3lib/lib/baseCells.c), written in
// the terms of cell_center.go. All else about the grid follows from them and from the corners' coordinates in
// cell_vertices.go.

// faces lists the corners of the twenty faces at the ends of the i, j and k axes, counter-clockwise seen from
// outside (from faceIjkBaseCells at 200, 020 and 002). Corner n is the centre of the n-th pentagonal base cell.
var faces = [20][3]uint8{
	{0, 4, 2}, {0, 2, 1}, {0, 1, 3}, {0, 3, 5}, {0, 5, 4},
	{8, 2, 4}, {6, 1, 2}, {7, 3, 1}, {9, 5, 3}, {10, 4, 5},
	{2, 8, 6}, {1, 6, 7}, {3, 7, 9}, {5, 9, 10}, {4, 10, 8},
	{11, 6, 8}, {11, 7, 6}, {11, 9, 7}, {11, 10, 9}, {11, 8, 10},
}

// home says where a base cell's centre lies, on the face in whose frame its digits count.
type home struct{ face, place uint8 }

// atCorner is the place of a pentagon: the corner at the end of the i axis. Places 0 to 6 are one step from the
// face's centre in the direction of the digit.
const atCorner = 7

// homes are the base cells (from baseCellData).
var homes = [baseCells]home{
	{1, 4}, {2, 6}, {1, 0}, {2, 4}, {0, 7}, {1, 6}, {1, 1}, {2, 0}, {0, 4}, {2, 2},
	{1, 2}, {1, 3}, {3, 4}, {3, 6}, {11, 7}, {4, 4}, {0, 0}, {6, 2}, {0, 1}, {2, 3},
	{7, 1}, {2, 1}, {0, 6}, {6, 1}, {10, 7}, {6, 0}, {3, 0}, {11, 4}, {4, 6}, {3, 2},
	{0, 3}, {4, 0}, {5, 2}, {0, 2}, {7, 2}, {11, 6}, {7, 0}, {10, 4}, {12, 7}, {6, 5},
	{7, 5}, {4, 1}, {3, 1}, {3, 3}, {4, 2}, {6, 4}, {11, 0}, {8, 1}, {5, 1}, {14, 7},
	{5, 0}, {12, 4}, {10, 6}, {4, 3}, {12, 6}, {7, 4}, {11, 2}, {10, 0}, {13, 7}, {10, 1},
	{11, 1}, {9, 2}, {8, 2}, {6, 7}, {8, 0}, {9, 1}, {14, 4}, {5, 5}, {16, 3}, {8, 5},
	{5, 4}, {12, 0}, {7, 7}, {12, 2}, {10, 2}, {9, 0}, {13, 4}, {16, 1}, {15, 3}, {15, 2},
	{16, 2}, {14, 6}, {13, 6}, {5, 7}, {8, 4}, {14, 0}, {9, 5}, {14, 1}, {17, 1}, {12, 1},
	{16, 0}, {17, 3}, {15, 1}, {16, 5}, {9, 4}, {15, 0}, {13, 0}, {8, 7}, {13, 2}, {17, 5},
	{19, 2}, {14, 2}, {19, 3}, {17, 2}, {13, 1}, {17, 0}, {16, 4}, {9, 7}, {15, 5}, {15, 4},
	{18, 3}, {18, 1}, {19, 1}, {17, 4}, {19, 0}, {18, 2}, {18, 5}, {19, 7}, {19, 4}, {18, 0},
	{19, 5}, {18, 4},
}
