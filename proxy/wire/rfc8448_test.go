package wire

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"strings"
	"testing"
)

// The figures of RFC 8448 section 3, "Simple 1-RTT Handshake": application traffic secrets with the keys that are made of them, the
// server's ticket, fifty bytes of data in both directions, and close_notify in both.
const (
	rfcClientSecret = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"
	rfcClientKey    = "17422dda596ed5d9acd890e3c63f5051"
	rfcClientIV     = "5b78923dee08579033e523d9"
	rfcClientData   = "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a" +
		"6292a2977014bd1e3deae63aeebb21694915e4"
	rfcClientClose = "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"

	rfcServerSecret = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"
	rfcServerKey    = "9f02283b6c9c07efc26bb9f2ac92e356"
	rfcServerIV     = "cf782b88dd83549aadf1e984"
	rfcServerTicket = "17030300de3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d6af8f6b580dcf3d11d63c758db289a015940252f" +
		"55713e061dc13e078891a38efbcf5753ad8ef170ad3c7353d16d9da773b9ca7f2b9fa1b6c0d4a3d03f75e09c30ba1e62972ac46f75f7" +
		"b981be63439b2999ce13064615139891d5e4c5b406f16e3fc181a77ca475840025db2f0a77f81b5ab05b94c01346755f69232c86519d" +
		"86cbeeac87aac347d143f9605d64f650db4d023e70e952ca49fe5137121c74bc2697687e248746d6df353005f3bce18696129c815355" +
		"6b3b6c6779b37bf15985684f"
	rfcServerData = "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2" +
		"e5f0a21c0047c2abf332540dd032e167c2955d"
	rfcServerClose = "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9"

	rfcData = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031"
)

func unhex(t testing.TB, s ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(s, ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRFC8448(t *testing.T) {
	for _, side := range []struct {
		name               string
		client             bool
		in, out            string
		inKey, inIV        string
		outKey, outIV      string
		outSeq             uint64
		receives           string
		sendsData, sendsCN string
	}{
		{"client", true, rfcServerSecret, rfcClientSecret, rfcServerKey, rfcServerIV, rfcClientKey, rfcClientIV, 0,
			rfcServerTicket + rfcServerData + rfcServerClose, rfcClientData, rfcClientClose},
		{"server", false, rfcClientSecret, rfcServerSecret, rfcClientKey, rfcClientIV, rfcServerKey, rfcServerIV, 1, // behind the ticket
			rfcClientData + rfcClientClose, rfcServerData, rfcServerClose},
	} {
		t.Run(side.name, func(t *testing.T) {
			o := newOurs(t, &TLSParams{
				Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256, Client: side.client,
				In: TLSTraffic{Secret: unhex(t, side.in)}, Out: TLSTraffic{Secret: unhex(t, side.out), Seq: side.outSeq},
			})
			state := o.s.TLS(o.id)
			for _, k := range []struct {
				name, want string
				got        []byte
			}{
				{"key in", side.inKey, state.In.Key[:16]}, {"IV in", side.inIV, state.In.IV[:]},
				{"key out", side.outKey, state.Out.Key[:16]}, {"IV out", side.outIV, state.Out.IV[:]},
			} {
				if got := hex.EncodeToString(k.got); got != k.want {
					t.Errorf("%s\n got %s\nwant %s", k.name, got, k.want)
				}
			}
			if got := hex.EncodeToString(o.seal(unhex(t, rfcData))); got != side.sendsData {
				t.Errorf("data record\n got %s\nwant %s", got, side.sendsData)
			}
			alert, err := o.s.SealAlert(o.id, AlertCloseNotify)
			if got := hex.EncodeToString(alert); err != nil || got != side.sendsCN {
				t.Errorf("close_notify record (%v)\n got %s\nwant %s", err, got, side.sendsCN)
			}
			plain, got, err := o.read(unhex(t, side.receives))
			if err != nil || !got.Closed || !bytes.Equal(plain, unhex(t, rfcData)) {
				t.Errorf("records of the peer: %x, %+v, %v", plain, got, err)
			}
		})
	}
}
