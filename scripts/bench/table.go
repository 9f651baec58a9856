package main

import (
	"fmt"
	"slices"
)

// tables are what is printed in the end.
type tables struct {
	beside []string // ircferry beside HAProxy
	since  []string // after beside before
}

// within is what a figure may be beside the one before.
const within = 1.02

func (t *tables) add(p part, values map[string][]float64) {
	ha, fe, be := values["haproxy"], values["ircferry"], values[before]
	if len(ha) > 0 || len(be) == 0 {
		t.beside = append(t.beside, tableLine(p, ha, fe, p.goal, "%.2f"))
	}
	if len(be) > 0 {
		t.since = append(t.since, tableLine(p, be, fe, within, "%.3f"))
	}
}

func (t *tables) print(version string) {
	if len(t.beside) > 0 {
		heading("HAProxy "+version, "ircferry")
		for _, line := range t.beside {
			fmt.Println(line)
		}
	}
	if len(t.since) > 0 {
		heading("before", "after")
		for _, line := range t.since {
			fmt.Println(line)
		}
	}
}

func heading(one, other string) {
	fmt.Printf("\n%-56s %16s %16s %22s %8s\n", "figure", one, other, "ratio (median, half)", "goal")
}

// tableLine compares neighbouring turns: the median of their ratios, and between what the middle half of them lies.
func tableLine(p part, one, other []float64, goal float64, digits string) string {
	show := func(v []float64) string {
		if len(v) == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f %s", median(v), p.unit)
	}
	ratio, verdict := "-", ""
	if len(one) > 0 && len(one) == len(other) {
		rs := make([]float64, len(one))
		for i := range rs {
			rs[i] = other[i] / one[i]
		}
		slices.Sort(rs)
		ratio = fmt.Sprintf(digits+" ("+digits+"-"+digits+")", median(rs), rs[len(rs)/4], rs[len(rs)-1-len(rs)/4])
		verdict = reached(median(rs) <= goal)
	}
	return fmt.Sprintf("%-56s %16s %16s %22s %8s %s", p.name, show(one), show(other), ratio, fmt.Sprintf("<= %.2f", goal), verdict)
}

func reached(ok bool) string {
	if ok {
		return "reached"
	}
	return "NOT reached"
}

func median(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
