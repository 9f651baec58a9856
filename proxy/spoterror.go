package proxy

import "github.com/ircferry/ircferry/proxy/wire"

// errorSpot keeps track of whether the ircd's present line is an ERROR line, with which an ircd says that it ends a stream: tags and a source
// may be before the word (clients with server-time get `@time=... ERROR :Closing link`). The zero value is the beginning of a line.
type errorSpot uint8

const (
	errorWord = "ERROR "

	spotTags   errorSpot = 16 + iota // in the tags: up to the next blank
	spotSource                       // in the source
	spotOther                        // another line
	spotFresh  errorSpot = 1 << 7    // the line is complete: the next byte begins another
)

// see takes the next bytes of the ircd, in whatever pieces they come; p is not empty. Only the last line of a piece matters, so this costs one look for
// its beginning.
func (e *errorSpot) see(p []byte) {
	at := *e
	if at&spotFresh != 0 {
		at = 0
	}
	if i := wire.Cut(p[:len(p)-1]); i > 0 {
		p, at = p[i:], 0
	}
	for _, c := range p {
		if at == spotOther || int(at) == len(errorWord) {
			break
		}
		at = at.next(c)
	}
	if p[len(p)-1] == '\n' {
		at |= spotFresh
	}
	*e = at
}

func (e errorSpot) next(c byte) errorSpot {
	switch {
	case e == spotTags || e == spotSource:
		if c == ' ' {
			return 0
		}
		return e
	case e == 0 && c == '@':
		return spotTags
	case e == 0 && c == ':':
		return spotSource
	case e == 0 && c == ' ':
		return e
	case c == errorWord[e]:
		return e + 1
	}
	return spotOther
}

// saidError reports whether the last line that has begun is an ERROR line.
func (e errorSpot) saidError() bool { return int(e&^spotFresh) == len(errorWord) }
