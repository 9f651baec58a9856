package handoff

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// The moves of a process before can be asked for like one's own, by way of text, and no journal is taken for that of a dead daemon.
func TestPast(t *testing.T) {
	dir := t.TempDir()
	journal := filepath.Join(dir, "x.journal")
	if err := os.WriteFile(journal, []byte("MOVE id=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	past := Past{Moves: []Report{
		{ID: "one", Kind: KindDrain, Pool: "main", From: "a", To: "b", State: StateDone, Step: StepThaw, Moved: 3, Attempted: 3,
			Started: time.Unix(1000, 0).UTC(), Ended: time.Unix(1001, 0).UTC(), Took: map[Step]float64{StepPull: 2}},
		{ID: "two", State: StateRunning},
	}, Interrupted: []Interrupted{{ID: "old", Users: 7}}}
	text, err := json.Marshal(past)
	if err != nil {
		t.Fatal(err)
	}
	var read Past
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	c, interrupted, err := New(Options{Journals: dir, Past: &read})
	if err != nil || len(interrupted) != 1 || interrupted[0].ID != "old" {
		t.Fatal(interrupted, err)
	}
	if got := c.Moves(); len(got) != 1 || !reflect.DeepEqual(got[0], past.Moves[0]) {
		t.Errorf("moves %+v", got)
	}
	if err := c.Cancel("one"); err == nil {
		t.Error("an ended move was cancelled")
	}
	if len(c.Running()) != 0 {
		t.Errorf("running %+v", c.Running())
	}
	if _, err := os.Stat(journal); err != nil {
		t.Errorf("the journal: %v", err)
	}
}
