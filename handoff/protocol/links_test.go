package protocol

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// linkedIrcd is a fakeIrcd that is linked to services and a leaf.
type linkedIrcd struct {
	*fakeIrcd
	linked  []LinkSelection
	markErr error
	greeted Greeting
}

var services, leaf = LinkSelection{"services.example", "00S", 1205}, LinkSelection{"leaf.example", "00B", 1202}

func (l *linkedIrcd) Hello(coordinator string) Hello {
	h := l.fakeIrcd.Hello(coordinator)
	for _, s := range l.linked {
		h.Linked = append(h.Linked, s.Name)
	}
	h.ULined, h.LinkCaps, h.Links = []string{"services.example"}, "ab12", len(l.linked)
	return h
}

func (l *linkedIrcd) Mark(_ context.Context, tx string, links []LinkSelection) error {
	for _, s := range links {
		if !slices.ContainsFunc(l.linked, func(o LinkSelection) bool { return o.Name == s.Name && o.SID == s.SID }) {
			return &Error{Code: CodeNotLinked, Text: s.Name}
		}
	}
	l.did(fmt.Sprint("mark ", len(links)))
	return l.markErr
}

func (l *linkedIrcd) Unheld(links []LinkSelection) (names []string) {
	for _, s := range l.linked {
		if !slices.Contains(links, s) {
			names = append(names, s.Name)
		}
	}
	return names
}

func (l *linkedIrcd) Bar(tx string) error { l.did("bar"); return nil }

func (l *linkedIrcd) Greet(s LinkSelection) (Greeting, error) {
	switch {
	case s.Name != services.Name && s.Name != leaf.Name:
		return Greeting{}, &Error{Code: CodeUnknownLink, Text: s.Name}
	case slices.Contains(l.linked, s):
		return Greeting{}, &Error{Code: CodeLinked, Text: s.Name}
	}
	return l.greeted, nil
}

// newLinkedRig is a rig of an ircd with links.
func newLinkedRig(t *testing.T, linked ...LinkSelection) (*rig, *linkedIrcd) {
	t.Helper()
	l := &linkedIrcd{fakeIrcd: newFakeIrcd(), linked: linked, greeted: Greeting{Open: []byte("SERVER services.example hush 0 00S :x\nBURST 1\n"), Close: []byte(":00S ENDBURST\n")}}
	return newRigOf(t, l, l.fakeIrcd, Config{}), l
}

// linkRecords are what a source tells of one link, with a line that needs all escapes and one that is long.
func linkRecords() []Message {
	link := NewLink(services)
	link.SetInt("users", 3)
	link.Set("last", "00AAAAAAC")
	link.SetList("stay", []string{"00AAAAAAA", "00AAAAAAB"})
	remote := NewRemote(services.Name, "00SAAAAAA")
	remote.Set("c", "#sea")
	remote.Set("x.fake.joined", "1 \n\x00")
	return []Message{link.Message, NewBurst(services.Name, ":00S UID 00SAAAAAA 1 Chan\\Serv \xff").Message,
		NewBurst(services.Name, ":00S METADATA * filter :"+strings.Repeat("a b", 2500)).Message, remote.Message}
}

func TestMoveWithLinks(t *testing.T) {
	src, from := newLinkedRig(t, services, leaf)
	dst, to := newLinkedRig(t)
	if h := src.hello; !h.Can(FeatLinks) || !slices.Equal(h.Linked, []string{"services.example", "leaf.example"}) || h.LinkCaps != "ab12" {
		t.Errorf("HELLO tells %v", h)
	}
	from.records = append(twoUsers(), linkRecords()...)
	ctx, tx, tok := t.Context(), NewSecret(), NewSecret()
	var got []Message
	end, err := src.c.Export(ctx, ExportRequest{Tx: tx, Freeze: 5 * time.Second, Select: []Selection{{"i.1", 10}}, Links: []LinkSelection{services}},
		func(m Message) error { m.line = ""; got = append(got, m); return nil })
	noError(t, err)
	if !reflect.DeepEqual(got, from.records) || end.Links != 1 || !slices.Equal(end.Unheld, []string{"leaf.example"}) || end.Records != len(got) {
		t.Errorf("%+v, records %q", end, got)
	}
	if from.calls[0] != "freeze" || from.calls[1] != "mark 1" {
		t.Errorf("told: %v", from.calls)
	}

	noError(t, dst.c.ImportLinks(ctx, tx, tok, time.Minute, ""))
	g, err := dst.c.Greet(ctx, tx, services)
	noError(t, err)
	if !reflect.DeepEqual(g, to.greeted) || strings.Contains(fmt.Sprintf("%v %+v %#v", g, g, g), "hush") {
		t.Errorf("%v", g)
	}
	_, err = dst.c.Greet(ctx, tx, LinkSelection{"other.example", "00O", 1205})
	wantCode(t, err, CodeUnknownLink)
	to.linked = []LinkSelection{services}
	_, err = dst.c.Greet(ctx, tx, services)
	wantCode(t, err, CodeLinked)
	to.conflicts = []Note{{L: services.Name, Code: string(CodeLink)}, {U: "i.1", Code: string(CodeID)}}
	for _, rec := range got {
		if rec.Verb == VerbUser {
			rec = User{rec}.Strip().Message
		}
		if rec.Verb != VerbBurst {
			noError(t, dst.c.Record(ctx, rec))
		}
	}
	p, err := dst.c.Prepare(ctx, tx)
	noError(t, err)
	if !reflect.DeepEqual(p.Conflicts, to.conflicts) || to.count("bar") != 1 {
		t.Errorf("%+v, told %v", p, to.calls)
	}
	if last := to.got[len(to.got)-1]; last.Get("x.fake.joined") != "1 \n\x00" {
		t.Errorf("%q", last)
	}
}

// A marker that cannot be written leaves all as it was.
func TestExportWithoutItsMarkers(t *testing.T) {
	r, l := newLinkedRig(t, services)
	for _, c := range []struct {
		links []LinkSelection
		err   error
		code  Code
	}{
		{[]LinkSelection{leaf}, nil, CodeNotLinked},
		{[]LinkSelection{{services.Name, "00X", 1205}}, nil, CodeNotLinked},
		{[]LinkSelection{services, services}, nil, CodeBadValue},
		{[]LinkSelection{{"two words", "00S", 1205}}, nil, CodeBadValue},
		{[]LinkSelection{services}, &Error{Code: CodeBehind}, CodeBehind},
	} {
		tx := NewSecret()
		l.markErr = c.err
		frozen, resumed := l.count("freeze"), l.count("resume")
		_, err := r.c.Export(t.Context(), ExportRequest{Tx: tx, Freeze: time.Second, Links: c.links}, nil)
		wantCode(t, err, c.code)
		if l.count("freeze")-frozen != l.count("resume")-resumed {
			t.Errorf("%v: the world stands still: %v", c.links, l.calls)
		}
		wantStatus(t, r.c, tx, SourceUnknown, DestUnknown)
	}
	// The selection is of one EXPORT.
	l.markErr = nil
	end, err := r.c.Export(t.Context(), ExportRequest{Tx: NewSecret(), Freeze: time.Second}, nil)
	if noError(t, err); !slices.Equal(end.Unheld, []string{services.Name}) {
		t.Errorf("%+v", end)
	}
}

// An ircd without links refuses all that needs them.
func TestLinksOfAnIrcdWithoutLinks(t *testing.T) {
	r := newRig(t, Config{})
	if r.hello.Can(FeatLinks) {
		t.Error("it says that it has them")
	}
	tx := NewSecret()
	_, err := r.c.Export(t.Context(), ExportRequest{Tx: tx, Freeze: time.Second, Links: []LinkSelection{services}}, nil)
	wantCode(t, err, CodeBadValue)
	wantCode(t, r.c.ImportLinks(t.Context(), tx, tx, time.Minute, ""), CodeBadValue)
	noError(t, r.c.Import(t.Context(), tx, tx, time.Minute, ""))
	_, err = r.c.Greet(t.Context(), tx, services)
	wantCode(t, err, CodeState)
}

func TestLinkRecordsThatAreRefused(t *testing.T) {
	link := "LINK n=s.example sid=00S proto=1205\n"
	for _, records := range []string{
		"LINK n=s.example sid=00S", "LINK n=s.example sid=00S proto=x", "LINK n=s.example sid=00S proto=-1", "LINK sid=00S proto=1", "LINK n=s.example proto=1", link + link[:len(link)-1],
		`LINK n=a\sb sid=00S proto=1`, `LINK n=a sid=0\s0 proto=1`, `LINK n=a sid=00S proto=1 users=some`, `LINK n=a sid=00S proto=1 last=a\sb`,
		"LINK n=a sid=00S proto=1 stay=" + strings.Repeat("a", 65), link + "BURST l=s.example d=:00S", link + "REMOTE l=other.example id=00SAAAAAA",
		"REMOTE l=s.example id=00SAAAAAA", link + "REMOTE l=s.example", link + `REMOTE l=s.example id=a\sb`, link + `REMOTE l=s.example id=a c=\s`,
	} {
		r, _ := newLinkedRig(t)
		k := r.talk()
		k.send("HELLO v=1 role=coordinator name=i")
		k.expect("HELLO")
		tx := NewSecret()
		k.send("IMPORT tx=" + tx + " tok=" + tx + " lease=60 links")
		k.expect("IMPORTING")
		k.send(records)
		k.send("PREPARE tx=" + tx + " records=0 sum=00000000")
		k.expect("ERROR code=bad-record")
	}
	r, _ := newLinkedRig(t)
	noError(t, r.c.Import(t.Context(), strings.Repeat("a", 32), NewSecret(), time.Minute, ""))
	noError(t, r.c.Record(t.Context(), NewLink(services).Message))
	_, err := r.c.Prepare(t.Context(), strings.Repeat("a", 32))
	wantCode(t, err, CodeBadRecord)
}

// What a source says wrongly of its links fails the export, and nothing of it is taken.
func TestExportOfWrongLinks(t *testing.T) {
	tx := strings.Repeat("a", 32)
	end := func(links int, records ...string) []string {
		var tally Tally
		for _, rec := range records {
			verb, _, _ := strings.Cut(rec, " ")
			tally.Add(verb, []byte(rec+"\n"))
		}
		return append(records, fmt.Sprintf("END tx=%s channels=0 users=0 unmovable=0 links=%d records=%d sum=%s", tx, links, tally.Records, FormatSum(tally.Sum)))
	}
	link := "LINK n=s.example sid=00S proto=1205"
	for _, c := range []struct {
		lines []string
		code  Code
	}{
		{end(1, link, `BURST l=s.example d=:00S\sENDBURST`), ""},
		{end(2, link), CodeCount},
		{end(1, link, link), CodeBadRecord},
		{end(0, "BURST l=s.example d=x"), CodeBadRecord},
		{end(1, link, "REMOTE l=leaf.example id=x"), CodeBadRecord},
		{end(1, link, `BURST l=s.example d=a\nb`), CodeBadRecord},
		{end(1, link, `BURST l=s.example d=a\rb`), CodeBadRecord},
		{end(1, link, `BURST l=s.example d=a\0b`), CodeBadRecord},
		{end(1, link, "BURST l=s.example d="), CodeBadRecord},
		{end(1, link, "BURST l=s.example d="+strings.Repeat("x", MaxBurstLine)), ""},
		{end(1, link, "BURST l=s.example d="+strings.Repeat("x", MaxBurstLine+1)), CodeBadRecord},
	} {
		ctl, far := pipe(t)
		go func() {
			far.expect("SELECT link=s.example sid=00S proto=1205")
			far.expect("EXPORT")
			for _, line := range c.lines {
				far.send(line)
			}
		}()
		_, err := ctl.Export(t.Context(), ExportRequest{Tx: tx, Freeze: time.Second, Links: []LinkSelection{{"s.example", "00S", 1205}}}, func(Message) error { return nil })
		if c.code == "" {
			noError(t, err)
		} else {
			wantCode(t, err, c.code)
		}
	}
}

func TestGreetingsThatAreNone(t *testing.T) {
	tx := strings.Repeat("a", 32)
	for line, code := range map[string]Code{
		`GREETING tx=` + tx + ` link=services.example open=a\n close=b\n`:      "",
		`GREETING tx=` + tx + ` link=services.example open=a close=b\n`:        CodeBadValue,
		`GREETING tx=` + tx + ` link=services.example open=a\n`:                CodeBadValue,
		`GREETING tx=` + tx + ` link=services.example open=a\n\nb\n close=b\n`: CodeBadValue,
		`GREETING tx=` + tx + ` link=services.example open=a\0\n close=b\n`:    CodeBadValue,
		`GREETING tx=` + tx + ` link=leaf.example open=a\n close=b\n`:          "broken",
	} {
		c, far := pipe(t)
		go func() {
			far.expect("GREET link=services.example sid=00S proto=1205 tx=" + tx + "\n")
			far.send(line)
		}()
		_, err := c.Greet(t.Context(), tx, services)
		switch {
		case code == "":
			noError(t, err)
		case code == "broken":
			if !c.Broken() {
				t.Errorf("%s: %v", line, err)
			}
		default:
			wantCode(t, err, code)
		}
	}
}
