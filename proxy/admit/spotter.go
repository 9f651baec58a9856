package admit

// Spotter finds a PROXY header at the start of a connection that must not send one, however its bytes are split, so that the
// close reason can say so. The zero value is ready; once See has answered other than HeaderMore it need not be called again.
type Spotter uint8

const spotV2 Spotter = 0x80 // the bytes so far are the beginning of signatureV2, else of signatureV1

// See takes the next bytes of the client. HeaderBad: a header begins here. HeaderNone: the connection does not begin with one.
func (s *Spotter) See(p []byte) Verdict {
	for _, c := range p {
		at := int(*s &^ spotV2)
		if at == 0 && c == signatureV2[0] {
			*s = spotV2
		}
		sig := signatureV1
		if *s&spotV2 != 0 {
			sig = signatureV2
		}
		if c != sig[at] {
			return HeaderNone
		}
		if *s++; at+1 == len(sig) {
			return HeaderBad
		}
	}
	return HeaderMore
}

// BeginsHeader reports whether p, the first bytes of a client that is to speak TLS, are a PROXY header's or the beginning of one. Four bytes
// are too few: blank lines and PROX may be anything.
func BeginsHeader(p []byte) bool {
	return len(p) > 4 && (startsLike(p, signatureV1) || startsLike(p, signatureV2))
}
