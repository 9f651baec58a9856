package wire

import (
	"fmt"
	"hash/fnv"
	"reflect"
	"strings"
	"unsafe"
)

// What lies in the file. A change of any of these types or sizes changes the layout hash by itself; a change of meaning that
// leaves the sizes alone must raise LayoutVersion.
const (
	// LayoutVersion is in the header; a process that finds another one does not touch the file, the one before excepted: of that it makes a
	// file of its own (before.go).
	LayoutVersion = 4

	// Magic is the first word of the file: "ircferry" in big-endian letters.
	Magic = 0x6972_6366_6572_7279

	// MaxShards is bounded by the room for Staged records in the header.
	MaxShards = 128

	// SlotSize is three cache lines, the last of which nothing touches while bytes pass. What a TLS connection needs besides lies in its annex (TLS).
	SlotSize = 192

	// StagingSize is one read of the event loop. Larger reads do not make relaying cheaper, smaller ones cost system calls
	// when a client or an ircd is pipelining.
	StagingSize = 64 << 10

	// Beside the buffer that is read into, a shard has one for what Open makes of it, which has room for one record more, and one
	// for what Seal makes of StagingSize bytes: four records of 16 KiB with their headers and tags, behind a reply.
	redoSize      = 4 << 10
	journalOff    = 512 // of the journal, in the room of the redo records
	plainSize     = StagingSize + 20<<10
	sealedSize    = StagingSize + 4<<10
	shardAreaSize = redoSize + StagingSize + plainSize + sealedSize

	// ChunkSize: what is queued is either a half line (under 512 bytes without tags) or the backlog of a peer that does not read
	// (tens of KiB). 2 KiB takes the first in one piece, wastes at most 2 KiB on the second, and lets the 1 MiB that a moving session
	// may carry go out as 515 pieces, within the kernel's 1024 for one writev.
	ChunkSize = 2 << 10

	chunkHeader = 8                       // next chunk, spare
	ChunkBytes  = ChunkSize - chunkHeader // payload of a chunk

	blockChunks = 32 // one bit each in a uint32
	blockSize   = blockChunks * ChunkSize

	// notesSize is the room for each of two editions of what is about no session alone (notes.go). It has memory as far as it is used.
	notesSize = 1 << 20

	headerSize = 8 << 10
	slotBatch  = 64 // slots that a shard takes at a time: 12 KiB of file
	annexBatch = 32 // TLS annexes that a shard takes at a time: 12 KiB of file
)

// header is the start of the file. Written once by New, but for the Next fields: what is behind them was never used.
type header struct {
	Magic      uint64
	Version    uint32
	Shards     uint32
	LayoutHash uint64
	Size       uint64 // of the file
	SlotSize   uint32
	ChunkSize  uint32
	AreasOff   uint64 // one of shardAreaSize per shard: redo records, staging buffers
	SlotsOff   uint64
	Slots      uint64 // slot 0 is never used and not counted
	ChunksOff  uint64
	Chunks     uint64
	AnnexesOff uint64
	Annexes    uint64 // annex 0 is never used and not counted

	SlotsNext   uint32
	AnnexesNext uint32
	BlocksNext  uint32
	_           uint32
	MaxBytes    uint64
	Notes       uint64 // edition in the upper half, its length in the lower one; it lies at NotesOff, if it is odd notesSize behind
	NotesOff    uint64
	_           [56]byte

	Staged [MaxShards]Staged
}

// Direction is which way bytes travel.
type Direction uint8

const (
	ToBackend Direction = iota + 1 // read from the client
	ToClient                       // read from the backend
)

func (d Direction) String() string {
	switch d {
	case ToBackend:
		return "to-backend"
	case ToClient:
		return "to-client"
	}
	return "none"
}

// Staged is the record of what lies in a shard's staging buffer, while it is worked: bytes of Slot that travel in direction Dir were read, or are
// about to be, into [From, To). Slot is 0 when nothing is worked; see Begin.
type Staged struct {
	Slot       SlotID
	Generation uint32
	From       uint32
	To         uint32
	Dir        Direction
	_          [15]byte
}

// SlotID names a slot in the arena; 0 is no slot.
type SlotID uint32

// Flags of a slot.
type Flags uint16

const (
	ClientFINSeen   Flags = 1 << iota // the client has ended its direction
	ClientFINSent                     // we have ended ours towards the client
	BackendFINSeen                    // the backend has ended its direction
	BackendFINSent                    // we have ended ours towards the backend
	Registered                        // 001 was seen on the stream
	Frozen                            // nothing is written to the backend
	BackendStripped                   // the line OPENED, ATTACHED or LIVE was taken out of the backend's bytes
	ClientGone                        // the client's connection is closed
	StreamOther                       // the backend's stream is kept under the tag that is an attached one's otherwise
)

// Has reports whether all of x are set.
func (f Flags) Has(x Flags) bool { return f&x == x }

// Slot is the wire state of one session. State 0 is a free slot, the other values are the session's; package wire does not
// look at them, nor at Flags, the counters and what stands behind the annexes. Only the goroutine of the shard reads or writes it.
type Slot struct {
	Session    uint64 // the counter in the session's stream id; unique in the instance
	Generation uint32 // counts the uses of this slot, survives FreeSlot: with the index it tells stale epoll events
	Flags      Flags
	State      uint8
	Crashes    uint8 // how often in a row a process has ended while it worked this session's bytes

	ClientIn   uint64 // bytes of the client, after they are opened
	ClientOut  uint64 // bytes for the client, written or queued, before they are sealed
	BackendIn  uint64 // bytes written to the backend and taken by the kernel, since the LF of OPEN or LIVE
	BackendOut uint64 // bytes read from the backend since that LF

	ToBackend Queue // ToBackend.Half of its bytes, at the end, are a half line
	ToClient  Queue

	Base Baseline

	ClientTLS  TLSID // 0: plaintext
	BackendTLS TLSID

	// What the session knows of itself, in its own terms.
	Marks   uint16
	Owed    uint16
	ErrorAt uint8
	Reason  uint8
	TLSWhy  uint8
	Held    uint8
	Place   uint32 // where the client came in
	Peer    uint32 // whose stream the backend's is

	// From here on nothing is touched while bytes pass.
	Started int64
	Move    uint64
	Last    uint32

	AttachedOut uint32 // what the kernel had taken for the stream that is attached, when it was
	Remote      Endpoint
	Local       Endpoint
	_           [4]byte
}

// Baseline is what the kernel had counted of each socket when our own counts began, modulo 2^32: with it a process that comes after a SIGKILL finds
// its cursors again. In is what was taken from the kernel, Out what the kernel has taken.
type Baseline struct {
	ClientIn, ClientOut, BackendIn, BackendOut uint32
}

// Endpoint is an address and a port; IPv4 is mapped.
type Endpoint struct {
	Addr [16]byte
	Port uint16
}

// Queue is bytes in chained chunks, in order. The zero Queue is empty and has no chunk. Change it with the methods of Shard only,
// except Half.
type Queue struct {
	Head    uint32 // first chunk, 0: none
	Tail    uint32 // last chunk
	HeadOff uint16 // bytes of the first chunk that are consumed
	TailOff uint16 // bytes of the last chunk that are filled; every other chunk is full
	Bytes   uint32 // in the queue
	Half    uint32 // of these, at the end, not yet a whole line; kept by AppendLines
}

// Len is the number of bytes in the queue.
func (q *Queue) Len() int { return int(q.Bytes) }

// Whole is the number of bytes in the queue that are whole lines.
func (q *Queue) Whole() int { return int(q.Bytes - q.Half) }

// layout describes every field of the types in the file, one a line, for the hash and for its test.
func layout() string {
	var b strings.Builder
	for _, t := range []reflect.Type{reflect.TypeFor[header](), reflect.TypeFor[Staged](), reflect.TypeFor[Slot](), reflect.TypeFor[Queue](),
		reflect.TypeFor[Baseline](), reflect.TypeFor[Endpoint](), reflect.TypeFor[journal](), reflect.TypeFor[image](), reflect.TypeFor[undo](),
		reflect.TypeFor[TLS](), reflect.TypeFor[TLSReceiver](), reflect.TypeFor[TLSTotals](), reflect.TypeFor[TLSKeys](), reflect.TypeFor[redoLog](), reflect.TypeFor[redo]()} {
		fmt.Fprintf(&b, "%s %d\n", t.Name(), t.Size())
		for i := range t.NumField() {
			f := t.Field(i)
			fmt.Fprintf(&b, "  %s %s @%d\n", f.Name, f.Type, f.Offset)
		}
	}
	fmt.Fprintf(&b, "chunk %d header %d block %d redo %d journal %d staging %d plain %d sealed %d notes %d\n",
		ChunkSize, chunkHeader, blockChunks, redoSize, journalOff, StagingSize, plainSize, sealedSize, notesSize)
	return b.String()
}

// LayoutHash is the FNV-1a hash of the layout, as in the header of each arena of this build.
func LayoutHash() uint64 {
	h := fnv.New64a()
	h.Write([]byte(layout()))
	return h.Sum64()
}

// The compiler refuses a layout that does not fit.
var (
	_ [SlotSize - unsafe.Sizeof(Slot{})]byte
	_ [unsafe.Sizeof(Slot{}) - SlotSize]byte
	_ [headerSize - unsafe.Sizeof(header{})]byte
	_ [annexSize - unsafe.Sizeof(TLS{})]byte
	_ [unsafe.Sizeof(TLS{}) - annexSize]byte
	_ [journalOff - unsafe.Sizeof(redoLog{})]byte
	_ [redoSize - journalOff - unsafe.Sizeof(journal{})]byte
)
