package keeper

// table is which descriptor has which tag, both ways. It allocates when it has more entries than ever before, and never else.
type table struct {
	at   []entry // hash table with linear probing, a power of two long; at most three quarters full
	tags []Tag   // by descriptor; 0: it is not one of ours
	n    int
}

// entry is free if its tag is 0.
type entry struct {
	tag Tag
	fd  int32
}

const firstTable = 1024

func newTable() *table { return &table{at: make([]entry, firstTable)} }

// home is where a tag is looked for first. Tags are small numbers side by side: the multiplication (Knuth's, by the golden ratio) spreads them.
func (t *table) home(tag Tag) int {
	return int(uint64(tag) * 0x9e3779b97f4a7c15 >> 32 & uint64(len(t.at)-1))
}

// find is the place of a tag, or where it would be.
func (t *table) find(tag Tag) int {
	i := t.home(tag)
	for t.at[i].tag != 0 && t.at[i].tag != tag {
		i = (i + 1) & (len(t.at) - 1)
	}
	return i
}

func (t *table) has(tag Tag) bool { return t.at[t.find(tag)].tag == tag }

// put notes a descriptor and answers the one that the tag had before; -1: none.
func (t *table) put(tag Tag, fd int) (before int) {
	if t.n+1 > len(t.at)/4*3 {
		t.grow()
	}
	for fd >= len(t.tags) {
		t.tags = append(t.tags, 0)
	}
	i := t.find(tag)
	before = -1
	if t.at[i].tag == tag {
		before = int(t.at[i].fd)
		t.tags[before] = 0
	} else {
		t.n++
	}
	t.at[i] = entry{tag, int32(fd)}
	t.tags[fd] = tag
	return before
}

func (t *table) grow() {
	was := t.at
	t.at = make([]entry, 2*len(was))
	for _, e := range was {
		if e.tag != 0 {
			t.at[t.find(e.tag)] = e
		}
	}
}

// remove forgets a tag and answers its descriptor; -1: there is none.
func (t *table) remove(tag Tag) int {
	i := t.find(tag)
	if t.at[i].tag != tag {
		return -1
	}
	fd := int(t.at[i].fd)
	t.tags[fd] = 0
	t.n--
	t.free(i)
	return fd
}

// free frees a place: whoever stands behind it only because it was taken moves up.
func (t *table) free(i int) {
	mask := len(t.at) - 1
	for j := i; ; {
		j = (j + 1) & mask
		if t.at[j].tag == 0 {
			t.at[i] = entry{}
			return
		}
		if home := t.home(t.at[j].tag); (j-home)&mask >= (j-i)&mask {
			t.at[i] = t.at[j]
			i = j
		}
	}
}

// clear forgets all.
func (t *table) clear() {
	clear(t.at)
	clear(t.tags)
	t.n = 0
}
