package admin

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"time"

	"github.com/ircferry/ircferry/handoff"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"age":     func(t time.Time) string { return time.Since(t).Round(time.Second).String() },
	"now":     func() string { return time.Now().UTC().Format("15:04:05") },
	"left":    func(c Certificate) string { words, _ := c.Left(time.Now()); return words },
	"short":   func(c Certificate) bool { _, short := c.Left(time.Now()); return short },
	"refused": func(l Listener) (n uint64) { return l.refused() },
	"role":    roleOf,
	"link":    linkWords,
	"member":  memberWords,
	"what":    whatMoves,
	"result":  resultClass,
}).Parse(pageText))

// word is a text with what it means, as a class of the page's style: good, warn, bad or dim.
type word struct{ Text, Class string }

// pageData is what the page shows beside the status itself.
type pageData struct {
	Status
	NotReady error
	Verdict  verdictOf
	People   string
	Down     []string
	Moving   []underWay
	Ended    []Move
}

type verdictOf struct{ Title, Text, Class string }

// underWay is a move that has not ended, in words.
type underWay struct {
	Move
	What, Now string
	Done, Of  int
}

// page is the status for the person on duty: what is wrong, what moves, who serves. Moves are shown by their numbers: who asked for
// them, and which sessions had trouble, is for the admin socket.
func (p Public) page(w http.ResponseWriter, r *http.Request) {
	st := p.Status()
	data := pageData{Status: st, NotReady: Ready(st), People: people(st), Down: down(st)}
	data.Verdict = judge(st, data.NotReady)
	for _, m := range st.Moves {
		if m.State.Ended() {
			data.Ended = append(data.Ended, m)
		} else {
			data.Moving = append(data.Moving, describe(m))
		}
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, data); err != nil {
		http.Error(w, "the status page cannot be drawn", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b.Bytes()) //nolint:errcheck // the reader may be gone
}

func resultClass(m Move) string {
	switch {
	case m.State == handoff.StateDone && m.Failed == 0:
		return "good"
	case m.State == handoff.StateReverted:
		return "warn"
	}
	return "bad"
}
