package protocol

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// FeatProof and the others are the features of a HELLO that a coordinator asks for by name; the table is in HANDOFF.md.
const (
	FeatProof   = "proof"   // the ircd proves on each stream that it knows its skey
	FeatMissing = "missing" // COMMIT missing=quit
	FeatQuiet   = "quiet"   // COMMIT missing=quit quiet
	FeatFence   = "fence"   // RESUME of an unknown tx fences it
	FeatRemain  = "remain"  // END remain=
)

// proofOf is the HMAC-SHA256 by which who knows key shows that it does: HANDOFF.md, sections 4 and 5.
func proofOf(key string, words ...string) string {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte("HANDOFF/1 " + strings.Join(words, " ")))
	return hex.EncodeToString(h.Sum(nil))
}

// proves reports whether got is the proof. An empty key proves nothing.
func proves(got, key string, words ...string) bool {
	return key != "" && EqualSecret(got, proofOf(key, words...))
}

// OpenedProof and AttachedProof are what the ircd's first line on a stream must have as proof if OPEN or ATTACH had a nonce.
func OpenedProof(o Open) string { return proofOf(o.SKey, VerbOpened, o.Nonce, o.U) }

// AttachedProof: see OpenedProof.
func AttachedProof(a Attach) string {
	return proofOf(a.SKey, VerbAttached, a.Nonce, a.U, a.Tx, a.Tok)
}

// proven checks what the coordinator says to show that it knows skey: the secret itself, or a proof.
func (o Open) proven(skey string) error {
	if o.Proof == "" {
		return knows(o.SKey, skey, "k")
	}
	return provenBy(o.Nonce, o.Proof, skey, VerbOpen, o.Nonce, o.U)
}

// proven checks an ATTACH of a transaction with this tok.
func (a Attach) proven(skey, tok string) error {
	if a.Proof == "" {
		if err := knows(a.SKey, skey, "k"); err != nil {
			return err
		}
		return knows(a.Tok, tok, "tok")
	}
	return provenBy(a.Nonce, a.Proof, skey, VerbAttach, a.Nonce, a.U, a.Tx, tok)
}

func knows(got, want, name string) error {
	if EqualSecret(got, want) {
		return nil
	}
	return &Error{Code: CodeDenied, Text: "wrong " + name}
}

func provenBy(nonce, proof, key string, words ...string) error {
	if !ValidTx(nonce) {
		return &Error{Code: CodeBadValue, Text: words[0] + " nonce: not 32 lower-case hex digits"}
	}
	if !proves(proof, key, words...) {
		return &Error{Code: CodeDenied, Text: "wrong proof"}
	}
	return nil
}
