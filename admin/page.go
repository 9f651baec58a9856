package admin

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"time"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"age":   func(t time.Time) string { return time.Since(t).Round(time.Second).String() },
	"left":  func(c Certificate) string { words, _ := c.Left(time.Now()); return words },
	"short": func(c Certificate) bool { _, short := c.Left(time.Now()); return short },
}).Parse(pageText))

// page is the status for a person. Moves are shown by their numbers: who asked for them, and which sessions had trouble, is
// for the admin socket.
func (p Public) page(w http.ResponseWriter, r *http.Request) {
	st := p.Status()
	data := struct {
		Status
		NotReady error
	}{st, Ready(st)}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, data); err != nil {
		http.Error(w, "the status page cannot be drawn", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b.Bytes()) //nolint:errcheck // the reader may be gone
}
