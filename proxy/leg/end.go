package leg

import (
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// alert sends an alert; nothing can be sealed behind it.
func (l *Leg) alert(lp *Loop, alert uint8) {
	if record, err := lp.Shard.SealAlert(l.TLS(), alert); err == nil {
		_ = l.put(lp, record) // who cannot take it has gone
	}
}

// End ends our direction behind what waits: close_notify if the leg has TLS, and the FIN. It answers whether that is done; if not, call it again
// when more was flushed.
func (l *Leg) End(lp *Loop) bool {
	if l.SentEnd() || l.fd < 0 {
		return true
	}
	if l.TLS() != 0 && !l.has(saidBye) {
		l.flags |= saidBye
		l.alert(lp, wire.AlertCloseNotify)
	}
	if l.Waiting(lp) > 0 {
		return false
	}
	l.Slot.Flags |= l.sent()
	lp.at("ending")
	loop.EndWrites(int(l.fd))
	lp.at("ended")
	return true
}

// NoMore notes that the peer will say no more that counts.
func (l *Leg) NoMore() { l.Slot.Flags |= l.seen() }

// NothingMore notes that nothing more is said to the peer, although our direction is not ended.
func (l *Leg) NothingMore() { l.Slot.Flags |= l.sent() }

// Close closes the descriptor and forgets what waits; with TLS close_notify goes before, if nothing is in its way.
func (l *Leg) Close(lp *Loop) {
	if l.fd >= 0 {
		l.Leave(lp)
		if l.side != Client && !l.Ended() {
			loop.EndWrites(int(l.fd)) // the FIN goes first: an ircd sees an end in order, even if something is unread here
		}
		l.hangUp(lp)
		lp.at("hung up")
		loop.Close(int(l.fd))
		l.fd = -1
		l.drop(lp)
	}
	l.forgetState(lp)
}

// Reset closes the descriptor with a reset: for a stream on which nobody has said anything, which the peer is to forget at once.
func (l *Leg) Reset(lp *Loop) {
	if l.fd >= 0 {
		loop.ResetOnClose(int(l.fd))
		lp.Unwatch(int(l.fd))
		if lp.Keeper != nil {
			loop.Disconnect(int(l.fd)) // a duplicate may live for a while
		}
		loop.Close(int(l.fd))
		l.fd = -1
		l.drop(lp)
	}
	l.forgetState(lp)
}

// ReadAway takes what the peer has sent out of the kernel: unread bytes would turn the Close behind it into a reset, and last words would be lost.
func (l *Leg) ReadAway(lp *Loop) {
	if l.fd >= 0 {
		loop.Read(int(l.fd), lp.Shard.Staging())
	}
}

// GiveUp is Close for a stream whose descriptor is closed by the caller, later: it answers it, -1 if there is none.
func (l *Leg) GiveUp(lp *Loop) int {
	fd := int(l.fd)
	if fd >= 0 {
		l.Leave(lp)
		l.fd = -1
		l.drop(lp)
	}
	l.forgetState(lp)
	return fd
}

// Leave ends the reports of the descriptor and says close_notify, if nothing is in its way.
func (l *Leg) Leave(lp *Loop) {
	lp.Unwatch(int(l.fd))
	if l.TLS() == 0 || l.has(saidBye|deaf|full|connecting) || l.Slot.Flags&l.sent() != 0 || l.Waiting(lp) > 0 || l.side == Backend && l.Ended() {
		return
	}
	if record, err := lp.Shard.SealAlert(l.TLS(), wire.AlertCloseNotify); err == nil {
		loop.Write(int(l.fd), record)
	}
}

// forgetState gives back what the leg has in the arena.
func (l *Leg) forgetState(lp *Loop) {
	if id := l.TLS(); id != 0 {
		l.setTLS(0)
		lp.Shard.FreeTLS(id)
	}
	if l.side == Client {
		lp.Shard.Clear(&l.Slot.ToClient)
	}
	l.flags = gone
	if l.side == Client {
		l.Slot.Flags |= wire.ClientGone
	}
}
