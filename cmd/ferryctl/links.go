package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/ircferry/ircferry/admin"
)

// writeServerLinks lists the server links of all pools, if there are any.
func writeServerLinks(w io.Writer, pools []admin.Pool) {
	var g grid
	g.add("SERVER LINK", "POOL", "STATE", "BACKEND", "ID", "PROTO", "KEPT", "GIVENUP", "REFUSED")
	for _, p := range pools {
		for _, l := range p.Links {
			state, proto := l.State, "-"
			if l.HeldSeconds > 0 {
				state += " (held " + span(time.Duration(l.HeldSeconds*float64(time.Second))) + ")"
			}
			if l.Proto > 0 {
				proto = strconv.Itoa(l.Proto)
			}
			g.add(l.Name, p.Name, state, dash(l.Backend), dash(clean(l.SID)), proto, fmt.Sprintf("%d/%d", l.KeptBytes, l.HoldBytes),
				strconv.FormatUint(l.GivenUp, 10), strconv.FormatUint(l.Refused, 10))
		}
	}
	if len(g.rows) > 1 {
		fmt.Fprintln(w)
		g.write(w)
	}
}
