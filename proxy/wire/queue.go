package wire

import "unsafe"

// Append puts p at the end of the queue, all of it or, with ErrFull or ErrQueueFull, nothing. Half is left alone.
func (s *Shard) Append(q *Queue, p []byte) error {
	s.check()
	if len(p) == 0 {
		return nil
	}
	if uint64(q.Bytes)+uint64(len(p)) > s.a.maxQueue {
		return ErrQueueFull
	}
	room := 0
	if q.Tail != 0 {
		room = ChunkBytes - int(q.TailOff)
	}
	if more := len(p) - room; more > 0 {
		if err := s.reserve((more + ChunkBytes - 1) / ChunkBytes); err != nil {
			return err
		}
	}
	if s.protect(q, 0) {
		defer s.settled()
	}
	q.Bytes += uint32(len(p))
	for {
		if q.Tail != 0 {
			n := copy(s.payload(q.Tail)[q.TailOff:], p)
			q.TailOff += uint16(n)
			if p = p[n:]; len(p) == 0 {
				return nil
			}
		}
		c := s.takeChunk()
		if q.Tail == 0 {
			q.Head, q.HeadOff = c, 0
		} else {
			*s.next(q.Tail) = c
		}
		q.Tail, q.TailOff = c, 0
	}
}

// AppendLines is Append for bytes of a client; it keeps Half, the length of the half line at the end.
func (s *Shard) AppendLines(q *Queue, p []byte) error {
	if s.protect(q, 0) {
		defer s.settled()
	}
	if err := s.Append(q, p); err != nil {
		return err
	}
	if cut := Cut(p); cut > 0 {
		q.Half = uint32(len(p) - cut)
	} else {
		q.Half += uint32(len(p))
	}
	return nil
}

// Prepend puts p before all that is in the queue, all of it or, with ErrFull or ErrQueueFull, nothing: into what its first chunk has room for in front, and
// chunks of its own that are filled from behind.
func (s *Shard) Prepend(q *Queue, p []byte) error {
	if q.Bytes == 0 {
		return s.Append(q, p)
	}
	s.check()
	if uint64(q.Bytes)+uint64(len(p)) > s.a.maxQueue {
		return ErrQueueFull
	}
	off := int(q.HeadOff)
	here := min(off, len(p))
	left := len(p) - here
	if err := s.reserve((left + ChunkBytes - 1) / ChunkBytes); err != nil {
		return err
	}
	if s.protect(q, 0) {
		defer s.settled()
	}
	off -= here
	copy(s.payload(q.Head)[off:], p[left:])
	for left > 0 {
		n := min(left, ChunkBytes)
		c := s.takeChunk()
		*s.next(c) = q.Head
		q.Head, off, left = c, ChunkBytes-n, left-n
		copy(s.payload(c)[off:], p[left:left+n])
	}
	q.HeadOff = uint16(off)
	q.Bytes += uint32(len(p))
	return nil
}

// swap puts a queue of copies in the place of q, whose chunks are freed.
func (s *Shard) swap(q *Queue, n Queue) {
	old := *q
	later := s.ofImage(q)
	mine := s.protect(q, 0)
	*q = n
	if mine {
		s.settled()
	}
	s.release(old, 0, later)
}

// Front is the first bytes of the queue, as many as lie in one piece; nil if it is empty. Valid until the queue changes.
func (s *Shard) Front(q *Queue) []byte {
	s.check()
	if q.Bytes == 0 {
		return nil
	}
	if q.Head == q.Tail {
		return s.payload(q.Head)[q.HeadOff:q.TailOff]
	}
	return s.payload(q.Head)[q.HeadOff:]
}

// Iovecs appends the pieces of the queue to dst[:0], in order, at most cap(dst) if dst has any room, else all. Valid until the queue changes.
func (s *Shard) Iovecs(q *Queue, dst [][]byte) [][]byte { return s.Pieces(q, q.Len(), dst) }

// Pieces is Iovecs for the first n bytes of the queue, such as Whole of them.
func (s *Shard) Pieces(q *Queue, n int, dst [][]byte) [][]byte {
	s.check()
	limit := cap(dst)
	dst = dst[:0]
	n = min(n, q.Len())
	c, off := q.Head, int(q.HeadOff)
	for n > 0 && (limit == 0 || len(dst) < limit) {
		p := s.payload(c)[off:]
		p = p[:min(n, len(p))]
		dst = append(dst, p)
		n -= len(p)
		c, off = *s.next(c), 0
	}
	return dst
}

// Consume takes n bytes from the front of the queue. Chunks that are empty now go back, zeroed.
func (s *Shard) Consume(q *Queue, n int) {
	s.check()
	s.consume(q, n)
}

// Clear takes everything out of the queue.
func (s *Shard) Clear(q *Queue) {
	s.check()
	s.consume(q, q.Len())
}

func (s *Shard) consume(q *Queue, n int) {
	if n < 0 || n > q.Len() {
		panic("wire: consume more than there is")
	}
	if n == 0 {
		return
	}
	old, mine := *q, s.protect(q, 0)
	q.Bytes -= uint32(n)
	q.Half = min(q.Half, q.Bytes)
	if q.Bytes == 0 {
		q.Head, q.Tail, q.HeadOff, q.TailOff = 0, 0, 0, 0
	}
	for left := n; q.Bytes > 0 && left > 0; {
		here := ChunkBytes - int(q.HeadOff)
		if left < here {
			q.HeadOff += uint16(left)
			break
		}
		left -= here
		q.Head, q.HeadOff = *s.next(q.Head), 0
	}
	if mine {
		s.settled()
	}
	s.release(old, q.Head, s.ofImage(q))
}

// release frees the chunks of what a queue was, up to the one that is its first now; 0: all. They are zeroed; later: at Worked.
func (s *Shard) release(old Queue, first uint32, later bool) {
	if old.Bytes == 0 {
		return
	}
	for c := old.Head; c != first; {
		this, end := c, ChunkBytes
		if c = *s.next(c); this == old.Tail {
			c, end = first, int(old.TailOff)
		}
		if later {
			s.later = append(s.later, this)
			continue
		}
		s.wipeChunk(this, end)
	}
}

// wipeChunk frees a chunk of which so many bytes are filled.
func (s *Shard) wipeChunk(c uint32, end int) {
	*s.next(c) = 0
	clear(s.payload(c)[:end])
	s.freeChunk(c)
}

// payload and next trust the number: it comes from a queue or from takeChunk.

func (s *Shard) payload(c uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(s.a.chunk(c), chunkHeader)), ChunkBytes)
}

func (s *Shard) next(c uint32) *uint32 { return (*uint32)(s.a.chunk(c)) }

func (a *Arena) chunk(c uint32) unsafe.Pointer {
	if c-1 >= a.chunks { // also for 0
		panic("wire: no such chunk")
	}
	return unsafe.Add(a.base, a.chunksOff()+uintptr(c-1)*ChunkSize)
}
