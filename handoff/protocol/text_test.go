package protocol

import (
	"strings"
	"testing"
)

// TestValuesBreakNoLine: what an ircd will put into lines for clients is one line, or one word of it.
func TestValuesBreakNoLine(t *testing.T) {
	const user, channel = "USER u=a nick=n", "CHAN n=#a"
	for line, good := range map[string]bool{
		user + ` real=two\swords away=and\smore ident=~x rhost=h dhost=::1 tls=TLSv1.3/X certfp=00ff`: true,
		user + ` rq=a\r\nb sq=c\r\n x.ergo.history=a\nb`:                                              true,
		channel + ` topic=:with\sa\scolon m.flood=5:10 m.noextmsg`:                                    true,
		user + ` real=a\r\nQUIT`: false, user + ` away=a\nb`: false, user + ` real=a\0`: false, user + ` caps=a\r`: false,
		user + ` ident=a\sb`: false, user + ` account=:a`: false, user + ` rhost=a\sb`: false, user + ` dhost=:a\sb`: false, user + ` account=::1`: false,
		user + ` tls=a\sb`: false, user + ` certfp=AB`: false, user + ` certfp=` + strings.Repeat("0", 129): false, user + ` m.x=a\sb`: false,
		"USER u=a nick=:n": false, `USER u=a nick=a\sb`: false, channel + ` tby=:a`: false, channel + ` m.key=a\sb`: false, channel + ` topic=a\nb`: false,
		`CHAN n=#a\sb`: false, `LIST c=#a m=ban mask=a\sb`: false, `LIST c=#a m=ban mask=a by=:b`: false, `MEMB u=a c=#a m=o\sv`: false,
	} {
		m, err := Parse([]byte(line))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if err := Validate(m); (err == nil) != good {
			t.Errorf("%s: %v", line, err)
		}
	}
	for _, pair := range []string{`tls=a\sb`, "certfp=XY", "tls=:a"} {
		m, _ := Parse([]byte("OPEN k=x u=a addr=::1 port=1 laddr=::1 lport=1 " + pair))
		if _, err := OpenOf(m); !HasCode(err, CodeBadValue) {
			t.Errorf("OPEN %s: %v", pair, err)
		}
	}
}
