package proxy

import (
	"bytes"
	"crypto/subtle"
)

// unproven is the code of an answer on a stream that lacks the proof that it is the ircd's: somebody else may have bound its port. Nothing of the
// client was sent by then.
const unproven = "unproven"

// proven reports whether a first line has the proof that was asked for; "": none was.
func proven(line []byte, proof string) bool {
	if proof == "" {
		return true
	}
	for _, f := range bytes.Fields(line) {
		if got, ok := bytes.CutPrefix(f, []byte("proof=")); ok {
			return subtle.ConstantTimeCompare(got, []byte(proof)) == 1
		}
	}
	return false
}

// answerCode is "" if a line is the answer that was asked for, else the word for what it is instead.
func answerCode(line []byte, verb, u, proof string) string {
	switch {
	case !isAnswer(line, verb, u):
		return errorCode(line)
	case !proven(line, proof):
		return unproven
	}
	return ""
}
