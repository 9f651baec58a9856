package wire

// cells is the arena's book about pieces of one size in the file, slots or annexes, that are named by number from 1 on. Shards
// take and give them in batches; which of them are in use can be seen in the file.
type cells struct {
	off     int64 // of cell 0, which is never used
	size    int64
	batch   int
	highest uint32

	free  []uint32 // guarded by Arena.mu; given back by shards
	next  uint32   // guarded by Arena.mu; this and all higher ones are untouched
	noted *uint32  // next, as the file's header has it
}

// take gives a shard a batch of free cells: such as other shards gave back, else new ones.
func (a *Arena) take(c *cells, mine *[]uint32) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(c.free); n > 0 {
		first := max(0, n-c.batch)
		*mine = append(*mine, c.free[first:]...)
		c.free = c.free[:first]
		return nil
	}
	left := int(c.highest) - int(c.next) + 1
	if left <= 0 {
		a.refused++
		return ErrFull
	}
	n := min(c.batch, left)
	if err := a.growLocked(c.off+int64(c.next)*c.size, int64(n)*c.size); err != nil {
		return err
	}
	if c == &a.annexes {
		a.lockLocked(c.off+int64(c.next)*c.size, int64(n)*c.size)
	}
	for i := n - 1; i >= 0; i-- {
		*mine = append(*mine, c.next+uint32(i))
	}
	c.next += uint32(n)
	*c.noted = c.next
	return nil
}

// give takes a batch back from a shard that has three of them free: the loops may be loaded unevenly, what one does not need
// another may.
func (a *Arena) give(c *cells, mine *[]uint32) {
	if len(*mine) < 3*c.batch {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	// The oldest ones: the last freed are still in the processor's cache.
	c.free = append(c.free, (*mine)[:c.batch]...)
	*mine = append((*mine)[:0], (*mine)[c.batch:]...)
}
