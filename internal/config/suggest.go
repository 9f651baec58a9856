package config

import "slices"

func contains(words []string, s string) bool { return slices.Contains(words, s) }

// didYouMean names the nearest of the known words, or nothing if none is near.
func didYouMean(s string, known []string) string {
	best, distance := "", len(s)/2+1 // farther than that it is another word
	if distance > 3 {
		distance = 3
	}
	for _, k := range known {
		if n := editDistance(s, k); n <= distance && k != "" {
			best, distance = k, n-1
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean \"" + best + "\"?"
}

// maxDistanceInput bounds the work that a very long key can cause.
const maxDistanceInput = 64

// editDistance counts the bytes to insert, delete, replace or swap with their neighbour (optimal string alignment).
func editDistance(a, b string) int {
	if len(a) > maxDistanceInput || len(b) > maxDistanceInput {
		return maxDistanceInput
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+same)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
