package proxy

import (
	"errors"

	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// TLS on the way of a session's bytes: reads of a TLS side are opened before they go on, what goes to one is sealed first. Queue ToClient
// holds records if the client has TLS; towards a backend with TLS, ToBackend holds plaintext and TLS.Unsent the records that its socket did not take.

// The alerts that are sent from here (RFC 8446 section 6).
const alertCloseNotify = 0

// fromClientTLS opens the n bytes that were read of the client.
func (w *worker) fromClientTLS(s *session, n int) {
	id := s.slot.ClientTLS
	o, err := w.shard.Open(id, n, w.loop.Now())
	if o.Reply {
		reply, rerr := w.shard.SealReply(id)
		if rerr == nil {
			w.sendClient(s, reply)
		} else if err == nil {
			err = rerr
		}
	}
	if len(o.Plain) > 0 && s.state != stateFree {
		w.fromClient(s, o.Plain)
	}
	switch {
	case s.state == stateFree:
	case err != nil:
		w.clientTLSBroken(s, err)
	case o.Closed:
		w.clientEnded(s)
	}
}

// openKept opens what came with the end of the handshake.
func (w *worker) openKept(s *session) {
	if s.slot.ClientTLS != 0 && s.state == StateRelay {
		w.fromClientTLS(s, 0)
	}
}

// clientTLSBroken ends a session whose client has sent what is no good record, or an alert. What it said before has gone to the ircd.
func (w *worker) clientTLSBroken(s *session, err error) {
	w.noteEnd(s, ReasonTLS) // before the alert, which the client may not be there to take
	s.refusedRecord(err)
	if te := (*wire.TLSError)(nil); errors.As(err, &te) && te.Alert != 0 {
		w.alertClient(s, te.Alert)
	}
	if s.state == stateFree {
		return
	}
	if !s.has(clientGone) {
		loop.Read(int(s.clientFD), w.shard.Staging()) // unread bytes would turn the close into a reset, and the alert would be lost
	}
	w.closeClient(s)
	w.clientLeft(s)
}

// alertClient sends an alert; nothing can be sealed behind it.
func (w *worker) alertClient(s *session, alert uint8) {
	if s.slot.ClientTLS == 0 || s.has(clientGone|clientDeaf) {
		return
	}
	if record, err := w.shard.SealAlert(s.slot.ClientTLS, alert); err == nil {
		w.sendClient(s, record)
	}
}

// closeNotify says to the client that nothing more comes. It answers false while it waits behind other bytes.
func (w *worker) closeNotify(s *session) bool {
	if s.slot.ClientTLS != 0 && !s.has(saidBye) {
		s.set(saidBye)
		w.alertClient(s, alertCloseNotify)
	}
	return s.state != stateFree && s.slot.ToClient.Len() == 0
}

// byeClient sends close_notify to a client whose descriptor is about to be closed, if nothing is in its way.
func (w *worker) byeClient(s *session) {
	if s.has(saidBye|clientDeaf|clientFull) || s.slot.ToClient.Len() > 0 {
		return
	}
	if record, err := w.shard.SealAlert(s.slot.ClientTLS, alertCloseNotify); err == nil {
		loop.Write(int(s.clientFD), record)
	}
}

// sealClient sends p to a client that has TLS.
func (w *worker) sealClient(s *session, p []byte) {
	for len(p) > 0 && s.state != stateFree && !s.has(clientGone|clientDeaf) {
		n := min(len(p), wire.StagingSize)
		records, err := w.shard.Seal(s.slot.ClientTLS, p[:n])
		if err != nil {
			if !s.has(saidBye) {
				w.clientTLSBroken(s, err)
			}
			return
		}
		s.slot.ClientOut += uint64(n)
		w.sendClient(s, records)
		p = p[n:]
	}
}

// fromBackendTLS opens the n bytes that were read of the backend.
func (w *worker) fromBackendTLS(s *session, n int) {
	id := s.slot.BackendTLS
	o, err := w.shard.Open(id, n, w.loop.Now())
	if o.Reply {
		if reply, rerr := w.shard.SealReply(id); rerr == nil {
			w.sendBackend(s, reply)
		} else if err == nil {
			err = rerr
		}
	}
	if len(o.Plain) > 0 && s.slot.BackendTLS == id {
		w.fromBackend(s, o.Plain)
	}
	switch {
	case s.state == stateFree || s.slot.BackendTLS != id:
	case err != nil:
		s.tlsWhy = whyTLS(reasonOfTLS(err))
		if te := (*wire.TLSError)(nil); errors.As(err, &te) && te.Alert != 0 {
			if record, err := w.shard.SealAlert(id, te.Alert); err == nil {
				w.sendBackend(s, record)
			}
		}
		s.unset(backendMore)
		s.set(backendReset)
		w.backendEnded(s)
	case o.Closed:
		s.unset(backendMore)
		w.backendEnded(s)
	}
}

// sealBackend sends p, whole lines, to a backend that has TLS. It answers how much was sealed: all, or nothing more while records wait. What is
// sealed counts as sent: it goes out, or the stream ends.
func (w *worker) sealBackend(s *session, p []byte) int {
	done := 0
	for done < len(p) && !s.has(backendFull) {
		n := min(len(p)-done, wire.StagingSize)
		records, err := w.shard.Seal(s.slot.BackendTLS, p[done:done+n])
		if err != nil {
			w.backendDeaf(s)
			return done
		}
		done += n
		s.slot.BackendIn += uint64(n)
		w.sendBackend(s, records)
		if s.state == stateFree || s.slot.Flags.Has(wire.BackendFINSent) {
			return done
		}
	}
	return done
}

// sendBackend writes records behind those that wait.
func (w *worker) sendBackend(s *session, records []byte) {
	q := &w.shard.TLS(s.slot.BackendTLS).Unsent
	if q.Len() == 0 {
		n, errno := loop.Write(int(s.backendFD), records)
		if broken(errno) {
			w.backendDeaf(s)
			return
		}
		if records = records[n:]; len(records) == 0 {
			return
		}
		w.backendShort(s)
	}
	if err := w.shard.Append(q, records); err != nil {
		w.outOfMemory(s)
	}
}

// byeBackend sends close_notify to a backend that is left, if nothing is in its way.
func (w *worker) byeBackend(s *session) {
	if s.slot.BackendTLS == 0 || s.slot.Flags&(wire.BackendFINSeen|wire.BackendFINSent) != 0 || w.shard.TLS(s.slot.BackendTLS).Unsent.Len() > 0 {
		return
	}
	if record, err := w.shard.SealAlert(s.slot.BackendTLS, alertCloseNotify); err == nil {
		loop.Write(int(s.backendFD), record)
	}
}

// flushUnsent writes the records that wait for the backend; false: some still do, or the session is over.
func (w *worker) flushUnsent(s *session) bool {
	if s.slot.BackendTLS == 0 {
		return true
	}
	q := &w.shard.TLS(s.slot.BackendTLS).Unsent
	for q.Len() > 0 && !s.has(backendFull) {
		ps := w.shard.Iovecs(q, w.pieces[:0])
		n, errno := loop.Writev(int(s.backendFD), ps, &w.room)
		w.shard.Consume(q, n)
		if broken(errno) {
			w.backendDeaf(s)
			return false
		}
		if n < sizeOf(ps) {
			w.backendShort(s)
		}
	}
	return q.Len() == 0
}
