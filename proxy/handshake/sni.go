package handshake

import "encoding/binary"

// finalDot reports whether the server name of a ClientHello ends in a dot, as a user may type a name. RFC 6066 section 3 forbids clients to send it so, and
// crypto/tls refuses the whole hello without saying why; other servers take it. The bytes cannot be mended on the way, since both sides
// sign them. message is what the first record holds, which is the whole hello or is not looked at.
func finalDot(message []byte) bool {
	p := field{message, true}
	p.skip(helloLen)
	p.skip(p.number(1)) // session id
	p.skip(p.number(2)) // suites
	p.skip(p.number(1)) // methods of compression
	for p.skip(2); p.ok && len(p.b) > 0; {
		kind := p.number(2)
		extension := p.take(p.number(2))
		if kind != 0 { // server_name
			continue
		}
		extension.skip(2 + 1) // length of the list, type of its first name
		name := extension.take(extension.number(2))
		return name.ok && len(name.b) > 0 && name.b[len(name.b)-1] == '.'
	}
	return false
}

// field is a part of a message that is read from its front. What is too short makes it not ok.
type field struct {
	b  []byte
	ok bool
}

func (f *field) take(n int) field {
	if !f.ok || n > len(f.b) {
		f.ok, f.b = false, nil
		return field{}
	}
	part := f.b[:n]
	f.b = f.b[n:]
	return field{part, true}
}

func (f *field) skip(n int) { f.take(n) }

// number is the unsigned number of the next size bytes, 1 or 2.
func (f *field) number(size int) int {
	p := f.take(size)
	switch {
	case !p.ok:
		return 0
	case size == 1:
		return int(p.b[0])
	}
	return int(binary.BigEndian.Uint16(p.b))
}
