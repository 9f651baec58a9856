//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// services is a linked server that takes part in SASL, as a network's services do: whoever comes with the right certificate gets an account.
type services struct {
	t    *testing.T
	conn net.Conn

	mu    sync.Mutex
	heard []string
}

// linkServices links services.test with InspIRCd's protocol: its own CAPAB is said back to it.
func linkServices(t *testing.T, port int, account map[string]string) *services {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	s := &services{t: t, conn: conn}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	s.say("CAPAB START 1205")
	go func() {
		defer close(done)
		lines := bufio.NewScanner(conn)
		lines.Buffer(nil, 1<<16)
		for lines.Scan() {
			s.hear(lines.Text(), account)
		}
	}()
	return s
}

func (s *services) say(line string) { _, _ = s.conn.Write([]byte(line + "\r\n")) }

func (s *services) hear(line string, account map[string]string) {
	s.mu.Lock()
	s.heard = append(s.heard, line)
	s.mu.Unlock()
	words := strings.Fields(line)
	for len(words) < 9 {
		words = append(words, "")
	}
	switch {
	case words[0] == "CAPAB" && words[1] == "CAPABILITIES":
		mirrored := strings.Fields(strings.TrimPrefix(line, "CAPAB CAPABILITIES :"))
		kept := mirrored[:0]
		for _, w := range mirrored {
			if !strings.HasPrefix(w, "CHALLENGE=") {
				kept = append(kept, w)
			}
		}
		s.say("CAPAB CAPABILITIES :" + strings.Join(kept, " "))
	case words[0] == "CAPAB" && words[1] == "END":
		s.say("CAPAB END")
		s.say("SERVER services.test p 0 9SS :services")
	case words[0] == "CAPAB" && words[1] != "START":
		s.say(line)
	case words[0] == "SERVER":
		s.say(fmt.Sprintf(":9SS BURST %d", time.Now().Unix()))
		s.say(":9SS ENDBURST")
	case words[1] == "PING":
		s.say(":9SS PONG " + words[0][1:])
	case words[3] == "SASL" && words[6] == "S" && words[7] == "EXTERNAL":
		s.say(fmt.Sprintf(":9SS ENCAP 1AA SASL 9SSAAAAAA %s C +", words[4]))
	case words[3] == "SASL" && words[6] == "C":
		name, result := account[s.fingerprint(words[4])], "F"
		if name != "" {
			s.say(fmt.Sprintf(":9SS METADATA %s accountname :%s", words[4], name))
			result = "S"
		}
		s.say(fmt.Sprintf(":9SS ENCAP 1AA SASL 9SSAAAAAA %s D %s", words[4], result))
	}
}

// fingerprint is the one that the ircd told last of a user.
func (s *services) fingerprint(uid string) (fingerprint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.heard {
		if words := strings.Fields(line); len(words) == 9 && words[3] == "SASL" && words[4] == uid && words[6] == "S" {
			fingerprint = strings.TrimPrefix(words[8], ":")
		}
	}
	return fingerprint
}
