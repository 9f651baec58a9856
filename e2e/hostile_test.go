//go:build e2e

package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// siege is a daemon with two clients who talk, one of them over TLS, while others misbehave.
type siege struct {
	*secured
	t        *testing.T
	f        *ferry
	measure  func() metrics
	ann, ben *irc
	said     int
}

func newSiege(t *testing.T) *siege {
	t.Helper()
	s := &siege{secured: newSecured(t), t: t}
	s.f, s.measure = startMeasured(t, s.text, startEmbedded(t, "a").backend())
	s.ann, s.ben = s.login(t, "ann"), login(t, s.f.port, "127.0.0.1", "ben")
	for _, c := range []*irc{s.ann, s.ben} {
		c.send("JOIN " + channel)
		c.expect(" 366 ")
	}
	return s
}

// talk has the two say a line to each other.
func (s *siege) talk(t *testing.T) {
	t.Helper()
	s.said++
	for from, to := range map[*irc]*irc{s.ann: s.ben, s.ben: s.ann} {
		line := fmt.Sprintf("PRIVMSG %s :%s %d", channel, from.nick, s.said)
		from.send(line)
		to.expect(line)
	}
}

// attack runs it and waits until the daemon has counted it, once by each of these series, and nothing else. Then the two still talk.
func (s *siege) attack(t *testing.T, name string, run func(t *testing.T), counted ...string) {
	t.Run(name, func(t *testing.T) {
		want := s.measure()
		run(t)
		for _, series := range counted {
			want[series]++
		}
		var now metrics
		eventually(t, 20*time.Second, "all is counted", func() bool {
			now = s.measure()
			for _, series := range counted {
				if now[series] < want[series] {
					return false
				}
			}
			return now[`ircferry_sessions{state="relay"}`] == 2
		})
		for series, n := range now {
			if (strings.HasPrefix(series, "ircferry_sessions_ended_total") || strings.HasPrefix(series, "ircferry_tls_")) && n != want[series] {
				t.Errorf("%s is %v, want %v", series, n, want[series])
			}
		}
		s.talk(t)
	})
}

func endedFor(reason string) string {
	return fmt.Sprintf(`ircferry_sessions_ended_total{listener="ircs",reason="%s"}`, reason)
}

func refusedFor(reason string) string {
	return fmt.Sprintf(`ircferry_tls_records_refused_total{listener="ircs",reason="%s"}`, reason)
}

func shook(outcome string) string {
	return fmt.Sprintf(`ircferry_tls_handshakes_total{listener="ircs",outcome="%s"}`, outcome)
}

// TestHostileTLSClients: what a client can do to a TLS listener from outside. Each is refused for its reason and counted as that, nobody else
// notices, and nothing of it stays.
func TestHostileTLSClients(t *testing.T) {
	s := newSiege(t)
	s.talk(t)
	before := s.measure()
	s.hellos(t)
	s.records(t)
	s.crowd(t)
	s.renegotiations(t)
	s.wrongPorts(t)
	var after metrics
	eventually(t, 20*time.Second, "goroutines are gone", func() bool {
		after = s.measure()
		return after["go_goroutines"] <= before["go_goroutines"]+2
	})
	for _, series := range []string{"ircferry_arena_slots", "ircferry_arena_chunks"} {
		if after[series] != before[series] {
			t.Errorf("%s: %v, before %v", series, after[series], before[series])
		}
	}
	if grown := after["process_resident_memory_bytes"] - before["process_resident_memory_bytes"]; grown > 32<<20 {
		t.Errorf("the daemon has grown by %.0f MB", grown/(1<<20))
	}
	if n := after["ircferry_loop_panics_total"]; n != 0 {
		t.Errorf("%v panics", n)
	}
	if log := s.f.proc.out.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("errors in the log:\n%s", log)
	}
}

// hellos are handshakes that come to nothing.
func (s *siege) hellos(t *testing.T) {
	old := func(record, version string, compression ...byte) []byte {
		body := append([]byte(version), bytes.Repeat([]byte{0x42}, 32)...)
		body = append(body, 0, 0, 4, 0xc0, 0x2b, 0, 0x35, byte(len(compression)))
		body = append(body, compression...)
		message := append([]byte{messageHello, 0, 0, byte(len(body))}, body...)
		return append([]byte{recordHandshake, record[0], record[1], 0, byte(len(message))}, message...)
	}
	modern := s.helloOf(t, tls.VersionTLS13)
	half := len(modern) / 2
	fragment := func(p []byte) []byte {
		return append([]byte{recordHandshake, 3, 1, byte(len(p) >> 8), byte(len(p))}, p...)
	}
	for _, c := range []struct {
		name, outcome string
		sent          []byte
		answer        string // all of it, or its beginning
	}{
		{"SSLv2", "no_common_version", []byte("\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10\x01\x00\x80\x03\x00\x80"), "\x15\x03\x01\x00\x02\x02\x46"},
		{"SSLv3", "no_common_version", old("\x03\x00", "\x03\x00", 0), "\x15\x03\x01\x00\x02\x02\x46"},
		{"TLS 1.0", "no_common_version", old("\x03\x01", "\x03\x01", 0), "\x15\x03\x01\x00\x02\x02\x46"},
		{"TLS 1.1", "no_common_version", old("\x03\x01", "\x03\x02", 0), "\x15\x03\x01\x00\x02\x02\x46"},
		{"TLS 1.2, compression alone", "bad_client_hello", old("\x03\x01", "\x03\x03", 1), "\x15\x03\x03\x00\x02\x02\x2f"},
		{"TLS 1.2, compression offered", "truncated", compressing(s.helloOf(t, tls.VersionTLS12)), "\x16\x03\x03"},
		{"TLS 1.3, compression offered", "bad_client_hello", compressing(modern), "\x15\x03\x03\x00\x02\x02\x2f"},
		{"data in the middle of a hello", "not_tls", append(fragment(modern[5:half]), "\x17\x03\x03\x00\x05hello"...), ""},
		{"another hello in the middle of a hello", "bad_client_hello", append(fragment(modern[5:half]), modern...), "\x15\x03\x01\x00\x02\x02"},
		{"a thousand empty records", "bad_client_hello", bytes.Repeat([]byte{recordHandshake, 3, 1, 0, 0}, 1000), "\x15\x03\x01\x00\x02\x02\x0a"},
		{"a hello of 16 MB", "bad_client_hello", fragment([]byte{messageHello, 0xff, 0xff, 0xff}), "\x15\x03\x01\x00\x02\x02\x50"},
		{"a hello that stops", "truncated", modern[:half], ""},
	} {
		ended := endedFor("tls_handshake_failed")
		if c.outcome == "truncated" {
			ended = endedFor("client_closed")
		}
		s.attack(t, c.name, func(t *testing.T) {
			conn := s.dialRaw(t, s.port)
			_, _ = conn.Write(c.sent)
			_ = conn.(*net.TCPConn).CloseWrite()
			got, _ := io.ReadAll(conn)
			if !strings.HasPrefix(string(got), c.answer) || len(got) > 7 && c.answer[0] == recordAlert || c.answer == "" && len(got) > 0 {
				t.Errorf("answered %x, want %x", got[:min(len(got), 32)], c.answer)
			}
			if len(got) > 50 && got[0] == recordHandshake && got[44+int(got[43])+2] != 0 {
				t.Errorf("the server chooses compression: %x", got[:80])
			}
		}, shook(c.outcome), ended)
	}
}

// dialRaw is a connection on which the test says what it likes.
func (s *siege) dialRaw(t *testing.T, port int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// helloOf is the record that crypto/tls begins with.
func (s *siege) helloOf(t *testing.T, version uint16) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	cfg := s.config()
	cfg.MinVersion, cfg.MaxVersion = version, version
	go func() { _ = tls.Client(ours, cfg).Handshake() }()
	defer theirs.Close()
	head := make([]byte, 5)
	if _, err := io.ReadFull(theirs, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(theirs, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// compressing offers DEFLATE in a hello, before no compression.
func compressing(hello []byte) []byte {
	at := 5 + 4 + 2 + 32
	at += 1 + int(hello[at])
	at += 2 + int(hello[at])<<8 + int(hello[at+1])
	out := append(bytes.Clone(hello[:at]), 2, 1, 0)
	out = append(out, hello[at+2:]...)
	for _, length := range [][]byte{out[3:5], out[7:9]} {
		n := int(length[0])<<8 + int(length[1]) + 1
		length[0], length[1] = byte(n>>8), byte(n)
	}
	return out
}

// records are those of clients that have come in.
func (s *siege) records(t *testing.T) {
	data := func(f *forger) []byte { return f.record(recordData, []byte("PING x\r\n")) }
	hello := append([]byte{messageHello, 0, 0, 64}, make([]byte, 64)...)
	const unexpected, badRecord, overflow = "unexpected message", "bad record MAC", "record overflow"
	for i, c := range []struct {
		name    string
		version uint16
		reason  string
		alert   string
		sent    func(f *forger) []byte
	}{
		{"a thousand empty records", tls.VersionTLS13, "flood", unexpected,
			func(f *forger) []byte { return repeated(1000, func() []byte { return f.record(recordData, nil) }) }},
		{"a thousand empty records", tls.VersionTLS12, "flood", unexpected,
			func(f *forger) []byte { return repeated(1000, func() []byte { return f.record(recordData, nil) }) }},
		{"a thousand warnings", tls.VersionTLS12, "flood", unexpected,
			func(f *forger) []byte {
				return repeated(1000, func() []byte { return f.record(recordAlert, []byte{1, 41}) })
			}},
		{"ten thousand key updates", tls.VersionTLS13, "flood", unexpected,
			func(f *forger) []byte { return repeated(10_000, func() []byte { return f.keyUpdate(0) }) }},
		{"ten thousand key updates that want an answer", tls.VersionTLS13, "flood", unexpected,
			func(f *forger) []byte { return repeated(10_000, func() []byte { return f.keyUpdate(1) }) }},
		{"data in the middle of a key update", tls.VersionTLS13, "interleaved", unexpected,
			func(f *forger) []byte {
				return append(f.record(recordHandshake, []byte{messageKeyUpdate, 0}), data(f)...)
			}},
		{"data in the middle of a hello", tls.VersionTLS12, "interleaved", unexpected,
			func(f *forger) []byte { return append(f.record(recordHandshake, hello[:10]), data(f)...) }},
		{"a hello", tls.VersionTLS13, "unexpected_message", unexpected,
			func(f *forger) []byte { return f.record(recordHandshake, hello) }},
		{"two hellos", tls.VersionTLS12, "renegotiation", "handshake failure",
			func(f *forger) []byte {
				return append(f.record(recordHandshake, hello), f.record(recordHandshake, hello)...)
			}},
		{"a record twice", tls.VersionTLS13, "bad_record", badRecord, func(f *forger) []byte { return bytes.Repeat(data(f), 2) }},
		{"a record twice", tls.VersionTLS12, "bad_record", badRecord, func(f *forger) []byte { return bytes.Repeat(data(f), 2) }},
		{"a byte changed", tls.VersionTLS13, "bad_record", badRecord,
			func(f *forger) []byte { p := data(f); p[len(p)-1] ^= 1; return p }},
		{"too long", tls.VersionTLS13, "oversize", overflow,
			func(f *forger) []byte { return f.record(recordData, bytes.Repeat([]byte("x"), 16385)) }},
		{"no ciphertext", tls.VersionTLS13, "unexpected_message", unexpected, func(*forger) []byte { return []byte("NICK evil\r\n") }},
	} {
		s.attack(t, fmt.Sprintf("%s, %s", tls.VersionName(c.version), c.name), func(t *testing.T) {
			nick := fmt.Sprintf("evil%d", i)
			f := s.enter(t, c.version, nick)
			f.send(c.sent(f))
			f.end("remote error: tls: " + c.alert)
			_ = f.raw.Close()
			eventually(t, 10*time.Second, nick+" has quit", func() bool {
				s.ann.send("ISON " + nick)
				return !strings.Contains(s.ann.expect(" 303 "), nick)
			})
		}, shook("full"), refusedFor(c.reason), endedFor("tls_record"))
	}
}

// enter registers a client that makes its records itself.
func (s *siege) enter(t *testing.T, version uint16, nick string) *forger {
	t.Helper()
	f := s.forge(t, version)
	f.say("NICK " + nick + "\r\nUSER u 0 * :r\r\n")
	f.hears(" 001 " + nick)
	return f
}

// crowd is floods from many clients at once, while two talk.
func (s *siege) crowd(t *testing.T) {
	const size = 40
	var counted []string
	for range size {
		counted = append(counted, shook("full"), refusedFor("flood"), endedFor("tls_record"))
	}
	s.attack(t, "many at once", func(t *testing.T) {
		var crowd []*forger
		for i := range size {
			crowd = append(crowd, s.enter(t, tls.VersionTLS13, fmt.Sprintf("crowd%d", i)))
		}
		var floods sync.WaitGroup
		for i, f := range crowd {
			floods.Go(func() {
				for f.flood(byte(i%2)) == nil {
				}
				f.end("remote error: tls: unexpected message")
			})
		}
		for range 20 {
			s.talk(t)
		}
		floods.Wait()
	}, counted...)
}

// flood sends key updates and data that is none.
func (f *forger) flood(request byte) error {
	p := repeated(100, func() []byte { return append(f.keyUpdate(request), f.record(recordData, nil)...) })
	_, err := f.raw.Write(p)
	return err
}

// renegotiations are asked for by real clients. OpenSSL takes no for an end, GnuTLS asks again.
func (s *siege) renegotiations(t *testing.T) {
	port := fmt.Sprint(s.port)
	for _, c := range []struct {
		name, reason string
		begin        func(t *testing.T) (p *process, command, refusal string, words func() string)
	}{
		{"openssl", "alert", func(t *testing.T) (*process, string, string, func() string) {
			p := start(t, nil, need(t, "openssl", "openssl"), "s_client", "-connect", s.addr(), "-servername", "irc.test", "-CAfile", s.ca,
				"-quiet", "-no_ign_eof", "-tls1_2")
			return p, "R\n", "no renegotiation", p.out.String
		}},
		{"gnutls", "renegotiation", func(t *testing.T) (*process, string, string, func() string) {
			log := filepath.Join(shortDir(t), "log")
			p := start(t, nil, need(t, "gnutls-cli", "gnutls-bin"), "127.0.0.1", "-p", port, "--sni-hostname", "irc.test", "--verify-hostname",
				"irc.test", "--x509cafile", s.ca, "--inline-commands", "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.2", "--logfile", log)
			return p, "^renegotiate^\n", "ReHandshake has failed", func() string { return p.out.String() + readFile(log) }
		}},
	} {
		s.attack(t, "renegotiation by "+c.name, func(t *testing.T) {
			p, command, refusal, words := c.begin(t)
			_, _ = io.WriteString(p.stdin, "NICK reneg\r\nUSER u 0 * :r\r\n")
			eventually(t, 20*time.Second, "it is welcomed", func() bool { return strings.Contains(p.out.String(), " 001 reneg") })
			_, _ = io.WriteString(p.stdin, command)
			p.await(20 * time.Second)
			if said := words(); !strings.Contains(said, refusal) {
				t.Errorf("it is not told %q:\n%s", refusal, said)
			}
		}, shook("full"), refusedFor(c.reason), endedFor("tls_record"))
	}
}

// wrongPorts are clients who have mistaken one port for the other.
func (s *siege) wrongPorts(t *testing.T) {
	s.attack(t, "plaintext on the TLS port", func(t *testing.T) {
		conn := s.dialRaw(t, s.port)
		_, _ = io.WriteString(conn, "NICK lost\r\nUSER u 0 * :r\r\n")
		got, err := io.ReadAll(conn)
		if line := string(got); err != nil || !strings.HasPrefix(line, "ERROR :") || !strings.Contains(line, "TLS only") || strings.Count(line, "\r\n") != 1 {
			t.Errorf("told %q, %v", line, err)
		}
	}, endedFor("plaintext_on_tls"))
	s.attack(t, "TLS on the plaintext port", func(t *testing.T) {
		conn := s.dialRaw(t, s.f.port)
		if tls.Client(conn, s.config()).Handshake() == nil {
			t.Error("there is TLS")
		}
		_ = conn.Close()
	}, `ircferry_sessions_ended_total{listener="irc",reason="tls_on_plaintext"}`)
}
