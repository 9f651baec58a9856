package protocol

import (
	"bufio"
	"errors"
	"io"
)

// lineReader reads lines of at most MaxLine from a control connection. One goroutine.
type lineReader struct {
	br *bufio.Reader
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{br: bufio.NewReaderSize(r, MaxLine)}
}

// next returns the next line as it is on the wire, LF included, and the message in it. raw is good until the following call.
func (l *lineReader) next() (m Message, raw []byte, err error) {
	raw, err = l.br.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			return Message{}, nil, errLineLong
		}
		if err == io.EOF && len(raw) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return Message{}, nil, err
	}
	m, err = Parse(raw[:len(raw)-1])
	return m, raw, err
}
