package wire

// For the tests in package wire_test.

// With13 runs f while crypto/tls has one TLS 1.3 suite only.
var With13 = with13

// SealKeyUpdate makes a KeyUpdate of ours, with request one that the peer must answer with its own; we never ask for that otherwise.
func (s *Shard) SealKeyUpdate(id TLSID, request bool) []byte {
	w := s.sealer(id, s.TLS(id))
	var ask byte
	if request {
		ask = 1
	}
	w.record(typeHandshake, append(s.tls.message[:0], msgKeyUpdate, 0, 0, 1, ask))
	w.su.update(&w.r.Keys, w.keys)
	w.keys, w.aead = &w.r.Keys, w.su.aead(&w.r.Keys)
	w.r.Updated, w.r.Seq = 1, 0
	return w.commit()
}
