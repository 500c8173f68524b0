package knob

import "strings"

// suggest is `, did you mean "x"?` for the candidate nearest to name, or "" when
// none is near: two letters, or a third of them, may be wrong. Case and the
// characters that join words don't count.
func suggest(name string, candidates []string) string {
	plain := func(s string) string {
		return strings.NewReplacer("_", "-", ".", "-", " ", "-").Replace(strings.ToLower(s))
	}
	best, least := "", 1<<30
	for _, c := range candidates {
		if d := distance(plain(name), plain(c)); d < least && d <= max(2, len(c)/3) {
			best, least = c, d
		}
	}
	if best == "" {
		return ""
	}
	return `, did you mean "` + best + `"?`
}

// distance is the Levenshtein distance of a and b in bytes, by the two-row
// form of Wagner and Fischer's algorithm.
func distance(a, b string) int {
	before := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range before {
		before[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(before[j]+cost, before[j+1]+1, row[j]+1)
		}
		before, row = row, before
	}
	return before[len(b)]
}
