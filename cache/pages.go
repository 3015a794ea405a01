package cache

import (
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	bucketSlots = 8
	pageBuckets = 64
	pageSlots   = pageBuckets * bucketSlots
	pageSize    = int(unsafe.Sizeof(page{})) // 12 KiB: three pages of the machine
	chunkPages  = 512                        // mapped at once: 6 MiB
)

// bucket holds eight entries, a word of each to a cache line: a lookup that
// finds nothing reads the first line only.
type bucket struct {
	print, times, refs [bucketSlots]uint64
}

type page [pageBuckets]bucket

// pages is the memory of an index's tables. It lies outside of Go's heap,
// whose limit for garbage grows with what is alive: 260 MB of entries would
// let as much garbage, or with GOGC=400 four times as much, stay. It is never
// a mapped file. What was mapped stays mapped while any table lives: a reader
// that is late reads other entries there, notices, and looks again.
type pages struct {
	mu      sync.Mutex
	free    []*page // a stack; some hold old entries
	trimmed int     // how many at its bottom were given back to the system
	fresh   []page  // never used: zero
	mapped  *chunks
}

// chunks is what to unmap when no index and no table has the pages any more.
type chunks struct{ memory [][]byte }

func newPages() *pages {
	p := &pages{mapped: &chunks{}}
	runtime.AddCleanup(p, (*chunks).unmap, p.mapped)
	return p
}

func (c *chunks) unmap() {
	for _, m := range c.memory {
		_ = unix.Munmap(m) // it was mapped by us, whole
	}
}

// take gives n pages of zeros.
func (p *pages) take(n int) []*page {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := make([]*page, n)
	for i := range taken {
		if last := len(p.free) - 1; last >= 0 {
			taken[i], p.free = p.free[last], p.free[:last]
			p.trimmed = min(p.trimmed, last)
			clear(taken[i][:])
			continue
		}
		if len(p.fresh) == 0 {
			p.fresh = p.mapped.add()
		}
		taken[i], p.fresh = &p.fresh[0], p.fresh[1:]
	}
	return taken
}

// add maps one more chunk. Where the system refuses, Go's heap has to do: a
// revocation is never dropped for want of memory.
func (c *chunks) add() []page {
	m, err := unix.Mmap(-1, 0, chunkPages*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]page, chunkPages)
	}
	if len(c.memory) > 0 { // a small index stays small
		_ = unix.Madvise(m, unix.MADV_HUGEPAGE) // a kernel without them says so: then it does without
	}
	c.memory = append(c.memory, m)
	return unsafe.Slice((*page)(unsafe.Pointer(unsafe.SliceData(m))), chunkPages)
}

// put takes pages back that no table uses any more. Late readers may still
// look at them.
func (p *pages) put(used []*page) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, used...)
}

// trim gives the memory of free pages back to the system, but for some that
// growth will soon want again. They stay mapped, and read as zeros.
func (p *pages) trim(keep int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ; p.trimmed < len(p.free)-keep; p.trimmed++ {
		b := unsafe.Slice((*byte)(unsafe.Pointer(p.free[p.trimmed])), pageSize)
		_ = unix.Madvise(b, unix.MADV_DONTNEED) // refused, it stays as it is
	}
}
