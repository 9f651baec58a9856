package protocol

import "sync"

// tableSize is how many transactions a Server remembers for STATUS and repeated verbs; the oldest that has ended goes first.
const tableSize = 256

// table remembers where each transaction is. Its lock is held for a look or a change only, never over a call of the ircd, so that
// STATUS is answered while the world stands still.
type table struct {
	mu    sync.Mutex
	txs   map[string]*transaction
	order []string
}

type transaction struct {
	source  SourceState
	dest    DestState
	users   int      // committed
	missing int      // committed, and quit for lack of a stream; -1: not asked
	who     []string // these, if the COMMIT was quiet
}

func (t *table) get(tx string) transaction {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.txs[tx]; e != nil {
		return *e
	}
	return transaction{source: SourceUnknown, dest: DestUnknown}
}

func (t *table) setSource(tx string, s SourceState) {
	t.entry(tx, func(e *transaction) { e.source = s })
}
func (t *table) setDest(tx string, d DestState) { t.entry(tx, func(e *transaction) { e.dest = d }) }

func (t *table) setCommitted(tx string, users, missing int, who []string) {
	t.entry(tx, func(e *transaction) { e.dest, e.users, e.missing, e.who = DestCommitted, users, missing, who })
}

func (t *table) entry(tx string, change func(*transaction)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.txs[tx]
	if e == nil {
		if t.txs == nil {
			t.txs = make(map[string]*transaction)
		}
		t.evictLocked()
		e = &transaction{source: SourceUnknown, dest: DestUnknown}
		t.txs[tx] = e
		t.order = append(t.order, tx)
	}
	change(e)
}

func (t *table) evictLocked() {
	if len(t.order) < tableSize {
		return
	}
	for i, tx := range t.order {
		e := t.txs[tx]
		if e.source != SourceFrozen && e.dest != DestStaging && e.dest != DestPrepared {
			delete(t.txs, tx)
			t.order = append(t.order[:i], t.order[i+1:]...)
			return
		}
	}
}
