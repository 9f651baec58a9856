package wire

// AppendHalf appends the half line at the end of the queue to dst, without taking it out.
func (s *Shard) AppendHalf(dst []byte, q *Queue) []byte {
	skip := q.Whole()
	for _, p := range s.Pieces(q, q.Len(), nil) {
		n := min(skip, len(p))
		skip -= n
		dst = append(dst, p[n:]...)
	}
	return dst
}

// DropHalf takes the half line at the end of the queue out. It copies what is before it: it is for what is rare. ErrFull: nothing is changed.
func (s *Shard) DropHalf(q *Queue) error {
	var whole Queue
	for _, p := range s.Pieces(q, q.Whole(), nil) {
		if err := s.Append(&whole, p); err != nil {
			s.Clear(&whole)
			return err
		}
	}
	s.swap(q, whole)
	return nil
}
