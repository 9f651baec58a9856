package link

import "bytes"

// keptBlock is how the kept lines lie: many to a block, so that a hundred thousand of them are some hundred objects.
const keptBlock = 64 << 10

// kept is what the peer has said and no ircd has taken yet: whole lines, in order.
type kept struct {
	blocks [][]byte
	size   int64 // bytes
}

// add copies a line.
func (k *kept) add(line []byte) {
	n := len(k.blocks)
	if n == 0 || len(k.blocks[n-1])+len(line) > cap(k.blocks[n-1]) {
		k.blocks = append(k.blocks, make([]byte, 0, max(keptBlock, len(line))))
		n++
	}
	k.blocks[n-1] = append(k.blocks[n-1], line...)
	k.size += int64(len(line))
}

// take takes the next lines, of at most n bytes, or one line if it is longer; nil: there are none.
func (k *kept) take(n int) (piece []byte) {
	if len(k.blocks) == 0 {
		return nil
	}
	b := k.blocks[0]
	end := bytes.LastIndexByte(b[:min(n, len(b))], '\n') + 1
	if end == 0 {
		end = bytes.IndexByte(b, '\n') + 1
	}
	k.size -= int64(end)
	if k.blocks[0] = b[end:]; end == len(b) {
		k.blocks = k.blocks[1:]
	}
	return b[:end]
}

// all is a copy of what is kept.
func (k *kept) all() []byte { return bytes.Join(k.blocks, nil) }

// resume keeps what all has answered elsewhere.
func (k *kept) resume(text []byte) {
	for line := range bytes.Lines(text) {
		k.add(line)
	}
}
