package ircclient

import "strings"

// body is the line without its tags.
func (l Line) body() string {
	if strings.HasPrefix(l.Text, "@") {
		_, rest, _ := strings.Cut(l.Text, " ")
		return rest
	}
	return l.Text
}

// Tags answers the tags without @, or "".
func (l Line) Tags() string {
	if !strings.HasPrefix(l.Text, "@") {
		return ""
	}
	tags, _, _ := strings.Cut(l.Text[1:], " ")
	return tags
}

// Source answers nick!user@host or a server name, or "".
func (l Line) Source() string {
	b := l.body()
	if !strings.HasPrefix(b, ":") {
		return ""
	}
	source, _, _ := strings.Cut(b[1:], " ")
	return source
}

// Nick answers the nick of the source.
func (l Line) Nick() string {
	nick, _, _ := strings.Cut(l.Source(), "!")
	return nick
}

// Command answers the verb or numeric.
func (l Line) Command() string {
	command, _, _ := strings.Cut(l.afterSource(), " ")
	return command
}

func (l Line) afterSource() string {
	b := l.body()
	if strings.HasPrefix(b, ":") {
		_, b, _ = strings.Cut(b, " ")
	}
	return b
}

// Params answers the parameters.
func (l Line) Params() []string {
	_, rest, _ := strings.Cut(l.afterSource(), " ")
	var params []string
	for rest != "" {
		if strings.HasPrefix(rest, ":") {
			return append(params, rest[1:])
		}
		var p string
		p, rest, _ = strings.Cut(rest, " ")
		params = append(params, p)
	}
	return params
}

// Param answers the parameter i, or "".
func (l Line) Param(i int) string {
	if p := l.Params(); i < len(p) {
		return p[i]
	}
	return ""
}
