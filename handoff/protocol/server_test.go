package protocol

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A coordinator that says nothing must not hold a connection.
func TestSilentConnectionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(newFakeIrcd(), Config{})
		for name, serve := range map[string]func(net.Conn){"control": s.ServeControl, "stream": s.ServeStream} {
			near, far := net.Pipe()
			begin := time.Now()
			go serve(far)
			if _, err := io.ReadAll(near); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(begin); d != firstLineTime {
				t.Errorf("%s: closed after %v", name, d)
			}
		}
	})
}

// The freeze ends to the millisecond, whatever the coordinator does.
func TestFreezeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ircd := newFakeIrcd()
		s := NewServer(ircd, Config{})
		near, far := net.Pipe()
		go s.ServeControl(far)
		c := NewControl(near)
		defer c.Close()
		_, err := c.Hello(t.Context(), Hello{})
		noError(t, err)
		begin := time.Now()
		_, err = c.Export(t.Context(), ExportRequest{Tx: NewSecret(), Freeze: 1234 * time.Millisecond}, nil)
		noError(t, err)
		ircd.wait(t, "resume")
		if d := time.Since(begin); d != 1234*time.Millisecond {
			t.Fatalf("resumed after %v", d)
		}
		c.Close()
		synctest.Wait()
		if n := ircd.count("resume"); n != 1 {
			t.Fatalf("resumed %d times", n)
		}
	})
}

// The end of the freeze time is a RESUME also for a process that was stopped meanwhile and comes to a RELEASE before it comes to its timer.
func TestReleaseBehindTheFreezeTime(t *testing.T) {
	r := newRig(t, Config{})
	tx := NewSecret()
	_, err := r.c.Export(t.Context(), ExportRequest{Tx: tx, Freeze: time.Minute}, nil)
	noError(t, err)
	noError(t, r.c.Ping(t.Context())) // END is sent a moment before the time is noted
	r.server.src.mu.Lock()
	r.server.src.until = time.Now().Add(-time.Millisecond)
	r.server.src.mu.Unlock()
	wantCode(t, r.c.Release(t.Context(), tx, ""), CodeResumed)
	if n := releases(r.ircd); n != 0 || r.ircd.count("resume") != 1 {
		t.Errorf("released %d times, resumed %d times", n, r.ircd.count("resume"))
	}
}

func TestLeaseTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ircd := newFakeIrcd()
		s := NewServer(ircd, Config{})
		near, far := net.Pipe()
		go s.ServeControl(far)
		c := NewControl(near)
		defer c.Close()
		_, err := c.Hello(t.Context(), Hello{})
		noError(t, err)
		tx, begin := NewSecret(), time.Now()
		noError(t, c.Import(t.Context(), tx, tx, 10*time.Second, ""))
		noError(t, c.Abort(t.Context(), tx))
		time.Sleep(9 * time.Second)
		noError(t, c.Import(t.Context(), tx, NewSecret(), 10*time.Second, "")) // the first lease's timer must not end this one
		time.Sleep(9 * time.Second)
		wantStatus(t, c, tx, SourceUnknown, DestStaging)
		time.Sleep(2 * time.Second)
		wantStatus(t, c, tx, SourceUnknown, DestAborted)
		if n := ircd.count("abort"); n != 2 || time.Since(begin) != 20*time.Second {
			t.Fatalf("aborted %d times, %v", n, time.Since(begin))
		}
	})
}

// Close gives everything back: the world, the import, the streams.
func TestServerCloses(t *testing.T) {
	r := newRig(t, Config{})
	tx := NewSecret()
	noError(t, r.c.Import(t.Context(), tx, tx, time.Minute, ""))
	s := r.attach(tx, "i.1", tx)
	r.export(tx, time.Minute)
	r.server.Close()
	s.ended()
	if r.ircd.count("resume") != 1 || r.ircd.count("abort") != 1 {
		t.Fatalf("told %v", r.ircd.calls)
	}
	if err := r.c.Ping(t.Context()); !errors.Is(err, ErrBroken) {
		t.Fatalf("after Close: %v", err)
	}
}

func TestTableForgetsTheOldestThatEnded(t *testing.T) {
	var tab table
	tab.setSource("frozen", SourceFrozen)
	tab.setDest("staging", DestStaging)
	tab.setDest("first", DestAborted)
	for range 2 * tableSize {
		tab.setCommitted(NewSecret(), 1, -1, nil)
	}
	if tab.get("frozen").source != SourceFrozen || tab.get("staging").dest != DestStaging {
		t.Error("an open transaction was forgotten")
	}
	if tab.get("first").dest != DestUnknown || len(tab.txs) != tableSize || len(tab.order) != tableSize {
		t.Errorf("%d transactions are remembered", len(tab.txs))
	}
}

func TestIntercept(t *testing.T) {
	var do func(Direction, *Message) Action
	r := newRig(t, Config{Intercept: func(d Direction, m *Message) Action {
		if do == nil {
			return Action{}
		}
		return do(d, m)
	}})
	r.ircd.records = twoUsers()
	at := func(want Direction, verb string, f func(*Message) Action) {
		do = func(d Direction, m *Message) Action {
			if d == want && m.Verb == verb {
				return f(m)
			}
			return Action{}
		}
	}
	export := func() error {
		_, err := r.c.Export(t.Context(), ExportRequest{Tx: NewSecret(), Peek: true}, func(Message) error { return nil })
		return err
	}
	at(Sending, "END", func(m *Message) Action { m.Set("sum", "00000000"); return Action{} })
	wantCode(t, export(), CodeSum)
	at(Sending, "END", func(m *Message) Action { m.Set("users", "7"); return Action{} })
	wantCode(t, export(), CodeCount)
	at(Sending, VerbUser, func(m *Message) Action { m.Set("nick", "x"); return Action{} })
	wantCode(t, export(), CodeSum)
	at(Sending, VerbMemb, func(*Message) Action { return Action{Drop: true} })
	wantCode(t, export(), CodeCount)
	at(Received, "EXPORT", func(m *Message) Action { m.Verb = "NO"; return Action{Delay: time.Millisecond} })
	wantCode(t, export(), CodeUnknownVerb)
	at(Sending, "PONG", func(*Message) Action { return Action{Close: true} })
	if err := r.c.Ping(t.Context()); !errors.Is(err, ErrBroken) {
		t.Fatal(err)
	}
}

// FuzzControl gives a control connection any bytes after HELLO, and FuzzStream a stream: the server answers or closes, and lets go of
// everything.
func FuzzControl(f *testing.F) {
	tx := strings.Repeat("a", 32)
	f.Add([]byte("PING t=1\nSTATUS tx=" + tx + "\n"))
	f.Add([]byte("SELECT u=a in=1\nEXPORT tx=" + tx + " freeze=100\nRELEASE tx=" + tx + "\n"))
	f.Add([]byte("IMPORT tx=" + tx + " tok=" + tx + " lease=9\nCHAN n=#a\nUSER u=a nick=b\nDATA u=a k=x d=y\nMEMB u=a c=#a\nPREPARE tx=" + tx + " records=3 sum=00000000\n"))
	f.Add([]byte("IMPORT tx=" + tx + " tok=" + tx + " lease=9\nPREPARE tx=" + tx + " records=0 sum=00000000\nCOMMIT tx=" + tx + "\nABORT tx=" + tx + "\n"))
	f.Add([]byte("IMPORT tx=" + tx + " tok=" + tx + " lease=9 kick=join\\sagain\nPREPARE tx=" + tx + " records=0 sum=00000000\nABORT tx=" + tx + "\n"))
	f.Add([]byte("EXPORT tx=" + tx + " peek\nRESUME tx=" + tx + "\nFIND nick=alice\nHELLO v=1 role=coordinator\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		ircd := newFakeIrcd()
		ircd.records = twoUsers()
		s := NewServer(ircd, Config{MaxUsers: 3, MaxBytes: 1000})
		talkTo(t, s.ServeControl, append([]byte("HELLO v=1 role=coordinator name=i\n"), input...))
		s.Close()
		if f, r := ircd.count("freeze"), ircd.count("resume")+releases(ircd); f != r {
			t.Fatalf("%d freezes, %d ends of one", f, r)
		}
		if b, e := ircd.count("begin"), ircd.count("abort")+ircd.count("commit"); b != e {
			t.Fatalf("%d imports, %d ends of one", b, e)
		}
	})
}

func releases(f *fakeIrcd) (n int) {
	for _, c := range f.calls {
		if strings.HasPrefix(c, "release ") {
			n++
		}
	}
	return n
}

func FuzzStream(f *testing.F) {
	skey := strings.Repeat("b", 32)
	f.Add([]byte("OPEN k=" + skey + " u=a addr=::1 port=1 laddr=::1 lport=2\nNICK a\r\n"))
	f.Add([]byte("ATTACH k=" + skey + " tx=" + skey + " u=a tok=" + skey + "\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		s := NewServer(newFakeIrcd(), Config{})
		s.skey = skey
		talkTo(t, s.ServeStream, input)
		s.Close()
	})
}

// talkTo sends input, then FIN, and reads all answers, which must be lines of the grammar.
func talkTo(t *testing.T, serve func(net.Conn), input []byte) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Skip(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Skip(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(far)
	}()
	near.SetDeadline(time.Now().Add(10 * time.Second))
	go func() {
		near.Write(input)
		near.(*net.TCPConn).CloseWrite()
	}()
	answers, _ := io.ReadAll(near)
	near.Close()
	<-done
	for line := range bytes.Lines(answers) {
		if bytes.HasPrefix(line, []byte("got:")) {
			return // the fake's echo, from an opened stream
		}
		if _, err := Parse(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
			t.Fatalf("answered %q: %v", line, err)
		}
	}
}
