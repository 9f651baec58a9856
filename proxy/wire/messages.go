package wire

const (
	// maxUseless records in a row may carry nothing: empty ones and warnings.
	maxUseless = 32

	// maxMessages handshake messages may come at once, and one more each second: key updates, tickets, attempts at renegotiation.
	maxMessages = 32

	// maxMessageLen is more than any ticket or hello has.
	maxMessageLen = 64 << 10
)

// Types of handshake messages.
const (
	msgHelloRequest     = 0
	msgClientHello      = 1
	msgNewSessionTicket = 4
	msgKeyUpdate        = 24
)

// content acts on one record. A handshake message that has begun must be finished first: RFC 8446 section 5.1.
func (o *opener) content(typ uint8, p []byte) *TLSError {
	m := &o.r.Receiver
	if m.Head > 0 && typ != typeHandshake {
		return errInterleaved
	}
	switch typ {
	case typeApplication:
		if len(p) == 0 {
			return o.useless()
		}
		m.Useless = 0
		o.made += len(p)
		return nil
	case typeAlert:
		return o.alert(p)
	case typeHandshake:
		return o.messages(p)
	}
	return errUnexpected
}

// useless counts records that carry nothing.
func (o *opener) useless() *TLSError {
	m := &o.r.Receiver
	if m.Useless++; m.Useless > maxUseless {
		return errFlood
	}
	return nil
}

// alert acts on an alert of the peer: RFC 8446 section 6, RFC 5246 section 7.2.
func (o *opener) alert(p []byte) *TLSError {
	switch {
	case len(p) == 0:
		return errUnexpected
	case len(p) != 2:
		return errMalformed
	case p[1] == AlertCloseNotify:
		o.r.Flags |= TLSClosed
		return nil
	case o.su.tls13() && p[1] == alertUserCanceled: // the level says nothing there
		return o.useless()
	case !o.su.tls13() && p[0] == levelWarning:
		return o.useless()
	case !o.su.tls13() && p[0] != levelFatal:
		return errIllegal
	}
	return &TLSError{Reason: "alert", Got: p[1]}
}

// messages acts on the handshake messages in a record, or the pieces of them.
func (o *opener) messages(p []byte) *TLSError {
	if len(p) == 0 {
		return errUnexpected
	}
	m := &o.r.Receiver
	for len(p) > 0 {
		if m.Head < 4 {
			if err := o.messageHead(p[0]); err != nil {
				return err
			}
			p = p[1:]
			if m.Head < 4 || m.Left > 0 {
				continue
			}
		}
		n := min(int(m.Left), len(p))
		body := p[:n]
		p, m.Left = p[n:], m.Left-uint32(n)
		if m.Left > 0 {
			return nil
		}
		if err := o.message(m.Message, body, len(p) == 0); err != nil {
			return err
		}
		m.Message, m.Head = 0, 0
	}
	return nil
}

// messageHead takes one byte of a message's header: type, and three bytes of length.
func (o *opener) messageHead(b byte) *TLSError {
	m := &o.r.Receiver
	m.Head++
	if m.Head == 1 {
		m.Message, m.Left = b, 0
		if !o.expects(b) {
			return errUnexpected
		}
		return o.spend()
	}
	m.Left = m.Left<<8 | uint32(b)
	if m.Head < 4 {
		return nil
	}
	switch {
	case m.Left > maxMessageLen,
		m.Message == msgKeyUpdate && m.Left != 1,
		m.Message == msgHelloRequest && m.Left != 0,
		m.Message != msgHelloRequest && m.Left == 0:
		return errMalformed
	}
	return nil
}

// expects says which messages may come after the handshake: RFC 8446 section 4.6, RFC 5246 section 7.4.1. We ask for no
// certificate after the handshake and offer none.
func (o *opener) expects(msg uint8) bool {
	client := o.r.Flags.Has(TLSClient)
	switch {
	case o.su.tls13():
		return msg == msgKeyUpdate || msg == msgNewSessionTicket && client
	case client:
		return msg == msgHelloRequest
	}
	return msg == msgClientHello
}

// message acts on a whole message. body is its last piece, last says that nothing is behind it in the record.
func (o *opener) message(msg uint8, body []byte, last bool) *TLSError {
	switch msg {
	case msgKeyUpdate:
		return o.keyUpdate(body[0], last)
	case msgClientHello, msgHelloRequest:
		return o.renegotiation()
	}
	return nil // tickets: we resume nothing
}

// keyUpdate goes over to the peer's next keys: RFC 8446 section 4.6.3. What is behind it must be under those, hence in another
// record.
func (o *opener) keyUpdate(request uint8, last bool) *TLSError {
	if request > 1 {
		return errIllegal
	}
	if !last {
		return errUnexpected
	}
	o.su.update(&o.r.Keys, o.keys)
	o.keys, o.aead = &o.r.Keys, o.su.aead(&o.r.Keys)
	o.r.Updated, o.r.Seq = 1, 0
	if request == 1 {
		o.r.Flags |= tlsReplyUpdate
	}
	return nil
}

// renegotiation refuses the first attempt with a warning and ends the connection at the second. A server's HelloRequest is refused
// once and then ignored.
func (o *opener) renegotiation() *TLSError {
	if o.r.Flags.Has(tlsRefused) {
		if o.r.Flags.Has(TLSClient) {
			return nil
		}
		return errRenegotiation
	}
	o.r.Flags |= tlsRefused | tlsReplyWarn
	return nil
}

// spend takes a token for a handshake message.
func (o *opener) spend() *TLSError {
	m := &o.r.Receiver
	now := uint32(o.now.Seconds())
	m.Spent -= uint8(min(uint32(m.Spent), now-m.SpentAt)) // all come back if the clock is another process's and behind
	m.SpentAt = now
	if m.Spent >= maxMessages {
		return errFlood
	}
	m.Spent++
	return nil
}
