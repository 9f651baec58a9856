package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// journal is memory without a name from which another process goes on with a link when this one has been killed: a picture of the link as it was at
// some turn, and all that it has heard since. A turn makes the same of the same, so whoever comes hears it again and stands where this process stood, with
// the same bytes to send; the kernel's counters say which of these are sent (protect.go, recover.go).
//
//	head     what is true, and how far
//	staging  per side: where reads go. What the kernel has given and is in no log yet lies here
//	areas    two, of which one is true: the log, and the picture that it begins behind
//
// A log that is full is followed by a picture in the other area; one store changes over.
type journal struct {
	file *os.File
	mem  []byte
	head *journalHead
}

// journalHead is in the file, so what it says is part of its form.
type journalHead struct {
	Magic  uint64
	Format uint32
	Valid  atomic.Uint32 // 1: areas[Area] is true
	Area   atomic.Uint32
	Tries  atomic.Uint32 // how many processes have begun to go on from here since the last picture
	Areas  [2]struct {
		Picture uint64        // bytes
		Log     atomic.Uint64 // bytes
	}
}

const (
	journalMagic  = 0x6b6e696c79727266 // "frrylink"
	journalFormat = 1

	headSize    = 4 << 10
	logSize     = 256 << 10 // a picture comes as often as this is full
	pictureSize = 16 << 20  // address space; memory is taken as it is needed
	areaSize    = logSize + pictureSize
	areasOff    = headSize + 2*readSize
	journalSize = areasOff + 2*areaSize

	entryHead = 5 // side, length
)

var (
	errJournalFull = errors.New("the picture of the link is too large")
	errJournal     = errors.New("its journal makes no sense")
)

// newJournal makes one that is not valid.
func newJournal() (*journal, error) {
	fd, err := unix.MemfdCreate("ircferry-link", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make journal of a link: %w", err)
	}
	f := os.NewFile(uintptr(fd), "link journal")
	if err := f.Truncate(journalSize); err != nil {
		f.Close()
		return nil, fmt.Errorf("make journal of a link: %w", err)
	}
	j, err := mapJournal(f)
	if err != nil {
		return nil, err
	}
	for _, part := range [][2]int64{{0, areasOff}, {areasOff, logSize}, {areasOff + areaSize, logSize}} { // a full machine is an error, and not a SIGBUS
		if err := unix.Fallocate(fd, 0, part[0], part[1]); err != nil {
			j.close()
			return nil, fmt.Errorf("make journal of a link: %w", err)
		}
	}
	j.head.Magic, j.head.Format = journalMagic, journalFormat
	return j, nil
}

// mapJournal owns f from here on.
func mapJournal(f *os.File) (*journal, error) {
	fd, err := descriptorOf(f)
	if err == nil { // whoever has the descriptor cannot cut the file under our mapping
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
	}
	var mem []byte
	if err == nil {
		mem, err = unix.Mmap(fd, 0, journalSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("map journal of a link: %w", err)
	}
	unix.Madvise(mem, unix.MADV_DONTDUMP)                                                                          //nolint:errcheck // as for the wire arena
	unix.Syscall(unix.SYS_MLOCK2, uintptr(unsafe.Pointer(unsafe.SliceData(mem))), journalSize, unix.MLOCK_ONFAULT) //nolint:errcheck // the same
	return &journal{file: f, mem: mem, head: (*journalHead)(unsafe.Pointer(unsafe.SliceData(mem)))}, nil
}

// openJournal maps one that another process has left.
func openJournal(f *os.File) (*journal, error) {
	if info, err := f.Stat(); err != nil || info.Size() != journalSize {
		f.Close()
		return nil, errJournal
	}
	j, err := mapJournal(f)
	if err != nil {
		return nil, err
	}
	if j.head.Magic != journalMagic || j.head.Format != journalFormat || j.head.Valid.Load() != 1 {
		j.close()
		return nil, errJournal
	}
	return j, nil
}

// staging is where reads of a side go.
func (j *journal) staging(side int) []byte {
	off := headSize + side*readSize
	return j.mem[off : off+readSize : off+readSize]
}

func (j *journal) area(n uint32) (log, picture []byte) {
	off := areasOff + int(n)*areaSize
	return j.mem[off : off+logSize], j.mem[off+logSize : off+areaSize]
}

// note writes down what a side has said; false: the log is full.
func (j *journal) note(side int, b []byte) bool {
	n := j.head.Area.Load()
	log, _ := j.area(n)
	at := &j.head.Areas[n].Log
	from := int(at.Load())
	if from+entryHead+len(b) > len(log) {
		return false
	}
	log = log[from:]
	log[0] = byte(side)
	binary.LittleEndian.PutUint32(log[1:], uint32(len(b)))
	copy(log[entryHead:], b)
	at.Store(uint64(from + entryHead + len(b)))
	return true
}

// draw puts a picture in the place of the one before and of the log behind it. text is wiped.
func (j *journal) draw(text []byte) error {
	defer clear(text)
	n := 1 - j.head.Area.Load()
	_, room := j.area(n)
	if len(text) > len(room) {
		return errJournalFull
	}
	fd, err := descriptorOf(j.file)
	if err != nil {
		return err
	}
	if err := unix.Fallocate(fd, 0, areasOff+int64(n)*areaSize+logSize, int64(max(len(text), 1))); err != nil {
		return fmt.Errorf("picture of the link: %w", err)
	}
	copy(room, text)
	j.head.Areas[n].Picture = uint64(len(text))
	j.head.Areas[n].Log.Store(0)
	atPoint("drawn")
	j.head.Area.Store(n)
	j.head.Valid.Store(1)
	j.head.Tries.Store(0)
	_, old := j.area(1 - n)
	clear(old[:j.head.Areas[1-n].Picture]) // there are keys in it
	j.head.Areas[1-n].Picture = 0
	return nil
}

// void says that nothing in it is true any more.
func (j *journal) void() { j.head.Valid.Store(0) }

// read is the picture, and what was heard since, in order.
func (j *journal) read() (picture []byte, all []heard, err error) {
	n := j.head.Area.Load() & 1
	log, room := j.area(n)
	size, logged := j.head.Areas[n].Picture, j.head.Areas[n].Log.Load()
	if size > uint64(len(room)) || logged > uint64(len(log)) {
		return nil, nil, errJournal
	}
	for log = log[:logged]; len(log) > 0; {
		if len(log) < entryHead || log[0] > 1 {
			return nil, nil, errJournal
		}
		end := entryHead + int(binary.LittleEndian.Uint32(log[1:]))
		if end > len(log) {
			return nil, nil, errJournal
		}
		all = append(all, heard{int(log[0]), log[entryHead:end]})
		log = log[end:]
	}
	return room[:size], all, nil
}

// heard is what a side has said in one turn.
type heard struct {
	side int
	b    []byte
}

// wipe voids it, and zeroes the keys that are in it.
func (j *journal) wipe() {
	j.void()
	for n := range uint32(2) {
		_, picture := j.area(n)
		clear(picture[:min(j.head.Areas[n].Picture, pictureSize)])
	}
}

// close forgets it here. Nobody may read into its staging any more.
func (j *journal) close() {
	unix.Munmap(j.mem) //nolint:errcheck // it was mapped
	j.file.Close()
	j.mem, j.head = nil, nil
}
