package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/ircferry/ircferry/internal/config"
)

// Notice is something that happened to a member.
type Notice struct {
	Member string
	Word   string // joined, restarted, changed, lost, left
	Text   string
}

// Options are what a Cluster needs of the daemon.
type Options struct {
	Config  config.Cluster
	Said    Said
	Log     *slog.Logger
	Tell    func(Notice) // called from goroutines of memberlist, one at a time; it must not block, nor call the Cluster. nil: nobody wants to know
	Handler http.Handler // what other members may ask; Asker says who does
}

// Cluster is this proxy as a member of it. Any goroutine may call its methods.
type Cluster struct {
	log     *slog.Logger
	tell    func(Notice)
	name    string
	ours    netip.AddrPort // of the gossip, as the others know it
	rpcAddr netip.AddrPort // likewise
	members *members
	wanted  wanted
	refused *refusals
	allow   *allowed
	ring    *memberlist.Keyring
	node    string // our name in the gossip
	door    *gate
	list    *memberlist.Memberlist
	rpc     *rpc

	lookUp func(context.Context, config.Peer) ([]netip.AddrPort, error)
	again  chan struct{} // capacity 1: look for the missing now
	stop   context.CancelFunc
	ended  sync.WaitGroup // rejoin, and the RPC

	changing sync.Mutex // one change of the key file at a time; taken before mu

	mu          sync.Mutex
	conf        config.Cluster
	said        Said
	keys        [][]byte
	toldMissing string
	closed      bool
}

// Start reads the files, listens for gossip and RPC, and begins to look for the others. It waits for none of them.
func Start(o Options) (*Cluster, error) {
	keys, err := ReadKeys(o.Config.KeyFile)
	if err != nil {
		return nil, err
	}
	c := &Cluster{log: o.Log, tell: o.Tell, name: o.Config.Member(), conf: o.Config, said: o.Said, keys: keys, allow: &allowed{}, refused: newRefusals(o.Log),
		lookUp: lookUp, again: make(chan struct{}, 1)}
	if c.tell == nil {
		c.tell = func(Notice) {}
	}
	c.members = newMembers(c.name)
	c.allow.set(o.Config.Allow)
	if c.ring, err = memberlist.NewKeyring(keys, keys[0]); err != nil {
		return nil, fmt.Errorf("cluster.key_file: %w", err)
	}
	if c.rpc, err = newRPC(c, o.Handler); err != nil {
		return nil, err
	}
	if err := c.gossip(); err != nil {
		c.rpc.close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	c.ended.Go(c.rpc.serve)
	c.ended.Go(func() { c.rejoin(ctx) })
	return c, nil
}

// gossip makes the member of memberlist.
func (c *Cluster) gossip() error {
	bind, err := netip.ParseAddrPort(c.conf.Bind)
	if err != nil {
		return fmt.Errorf("cluster.bind: %w", err)
	}
	logger := log.New(lines{c.log, c.refused}, "", 0)
	door, err := newGate(bind, c.allow, c.refused, logger)
	if err != nil {
		return fmt.Errorf("cluster.bind: %w", err)
	}
	c.door = door
	conf := memberlist.DefaultLANConfig()
	c.node = nodeName(c.name)
	conf.Name = c.node
	conf.Label, conf.Keyring, conf.Transport, conf.Logger = c.conf.Label, c.ring, door, logger
	conf.BindAddr, conf.BindPort, conf.AdvertisePort = bind.Addr().String(), int(bind.Port()), int(bind.Port())
	if c.conf.Advertise != "" {
		to, err := netip.ParseAddrPort(c.conf.Advertise)
		if err != nil {
			door.Shutdown() //nolint:errcheck // it has no error
			return fmt.Errorf("cluster.advertise: %w", err)
		}
		conf.AdvertiseAddr, conf.AdvertisePort = to.Addr().String(), int(to.Port())
	}
	ip, port, err := door.FinalAdvertiseAddr(conf.AdvertiseAddr, conf.AdvertisePort)
	if err != nil {
		door.Shutdown() //nolint:errcheck // it has no error
		return fmt.Errorf("cluster.advertise: which address the others can reach is not known (%w); say it", err)
	}
	addr, _ := netip.AddrFromSlice(ip)
	c.ours = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	c.rpcAddr = c.rpc.reachedAt(c.ours.Addr())
	tune(conf)
	conf.Delegate, conf.Events, conf.Alive, conf.Ping = delegate{c}, delegate{c}, delegate{c}, delegate{c}
	if c.list, err = memberlist.Create(conf); err != nil {
		door.Shutdown() //nolint:errcheck // it has no error
		return fmt.Errorf("join the gossip: %w", err)
	}
	return nil
}

// tune is for a few members on one network, of which some may be busy: a member is suspected for longer before it is called lost, since nothing waits for that, and
// all is compared with somebody more often, since it is little.
func tune(conf *memberlist.Config) {
	conf.SuspicionMult = 6
	conf.PushPullInterval = rejoinEvery
	conf.TCPTimeout = streamTime
	conf.GossipVerifyIncoming, conf.GossipVerifyOutgoing = true, true
	conf.EnableCompression = false // little would be gained, and nobody can send us what unpacks to more than it is
}

// nodeName is the name of a node in the gossip: new for each start.
func nodeName(member string) string {
	b := make([]byte, 6)
	rand.Read(b) // never fails: the runtime ends the process
	return member + "." + hex.EncodeToString(b)
}

func (c *Cluster) config() config.Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conf
}

// Name is the name of this member.
func (c *Cluster) Name() string { return c.name }

// Label is that of the cluster.
func (c *Cluster) Label() string { return c.config().Label }

// Members lists all that are known, this one among them, by name.
func (c *Cluster) Members() []Member { return c.members.list() }

// Wanted says who should be there, and who of them is missing.
func (c *Cluster) Wanted() Wanted {
	w, _ := c.missing()
	return w
}

// Refused counts who was not let in.
func (c *Cluster) Refused() map[Reason]uint64 { return c.refused.all() }

// KeyIDs name the keys of the gossip that this member has, the one that seals first.
func (c *Cluster) KeyIDs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return KeyIDs(c.keys)
}

// Say tells the others something new of this member.
func (c *Cluster) Say(s Said) {
	c.mu.Lock()
	same := c.said == s || c.closed
	c.said = s
	c.mu.Unlock()
	if same {
		return
	}
	if err := c.list.UpdateNode(time.Second); err != nil {
		c.log.Debug("gossip", "text", err.Error()) // push/pull will tell it
	}
}

// Renewable reports whether Prepare can make the running member what next says; if not, only another one can: who and where it is has changed.
func (c *Cluster) Renewable(next config.Cluster) bool {
	was := c.config()
	return c.name == next.Member() && was.Label == next.Label && was.Bind == next.Bind && was.Advertise == next.Advertise && was.RPC.Listen == next.RPC.Listen
}

// Prepare reads the files of next again; renew makes the running member what it says. Until then nothing is changed.
func (c *Cluster) Prepare(next config.Cluster) (renew func(), err error) {
	keys, err := ReadKeys(next.KeyFile)
	if err != nil {
		return nil, err
	}
	identity, err := readIdentity(next)
	if err != nil {
		return nil, err
	}
	return func() {
		if err := c.setKeys(keys); err != nil { // they were looked at, so it cannot be
			c.log.Error("keys of the gossip stay as they were", "err", err)
		}
		c.rpc.use(identity)
		c.allow.set(next.Allow)
		c.mu.Lock()
		c.conf = next
		c.mu.Unlock()
		c.lookAgain()
	}, nil
}

func (c *Cluster) setKeys(keys [][]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := setKeys(c.ring, keys); err != nil {
		return err
	}
	c.keys = keys
	return nil
}

func (c *Cluster) lookAgain() {
	select {
	case c.again <- struct{}{}:
	default:
	}
}

// leaveTime bounds how long the others are told that this one goes.
const leaveTime = time.Second

// Close ends the member in order; with a ctx that is over it says nothing to anybody:
//
//  1. nobody is looked for any more;
//  2. the others hear, by RPC and by gossip, that this one goes, so that they do not miss it;
//  3. the RPC ends, and who asks is cut off when ctx is over;
//  4. the gossip ends.
func (c *Cluster) Close(ctx context.Context) error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed {
		return nil
	}
	c.stop()
	if ctx.Err() == nil {
		farewell, cancel := context.WithTimeout(ctx, leaveTime)
		c.sayFarewell(farewell)
		cancel()
		if err := c.list.Leave(leaveTime); err != nil {
			c.log.Debug("gossip", "text", err.Error())
		}
	}
	err := c.rpc.shutdown(ctx)
	err = errors.Join(err, c.list.Shutdown())
	c.ended.Wait()
	return err
}

// delegate is what memberlist asks of us and tells us. Its methods are called with memberlist's lock held.
type delegate struct{ c *Cluster }

// NodeMeta and the following implement memberlist.Delegate.
func (d delegate) NodeMeta(limit int) []byte {
	d.c.mu.Lock()
	said := d.c.said
	d.c.mu.Unlock()
	m := meta{Name: d.c.name, Instance: said.Instance, RPC: d.c.rpcAddr.String(), Version: said.Version, Pools: said.Pools}
	b := m.encode()
	if len(b) > limit {
		m.Version = ""
		b = m.encode()
	}
	return b
}

func (delegate) NotifyMsg([]byte)                {}
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}

// NotifyAlive implements memberlist.AliveDelegate: an error keeps the node out.
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	if n.Name == d.c.node {
		return nil // without itself it could not go on
	}
	if _, err := decodeMeta(n.Meta); err != nil {
		return err
	}
	if a := addressOf(n); !d.c.allow.has(a.Addr()) {
		return fmt.Errorf("its address %s is in no network of cluster.allow", a)
	}
	return nil
}

// NotifyJoin and the following implement memberlist.EventDelegate.
func (d delegate) NotifyJoin(n *memberlist.Node) { d.here(n) }

func (d delegate) NotifyUpdate(n *memberlist.Node) { d.here(n) }

func (d delegate) here(n *memberlist.Node) {
	info, err := decodeMeta(n.Meta)
	if err != nil {
		return // NotifyAlive has refused it
	}
	if notice, ok := d.c.members.here(n.Name, info, addressOf(n)); ok {
		d.c.notice(notice)
	}
}

func (d delegate) NotifyLeave(n *memberlist.Node) {
	if notice, ok := d.c.members.gone(n.Name); ok {
		d.c.notice(notice)
	}
}

// AckPayload and the following implement memberlist.PingDelegate.
func (delegate) AckPayload() []byte { return nil }

func (d delegate) NotifyPingComplete(n *memberlist.Node, _ time.Duration, _ []byte) {
	d.c.members.seen(n.Name)
}

func addressOf(n *memberlist.Node) netip.AddrPort {
	a, _ := netip.AddrFromSlice(n.Addr)
	return netip.AddrPortFrom(a.Unmap(), n.Port)
}

// notice logs it and tells it; of this proxy itself nothing is told.
func (c *Cluster) notice(n Notice) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if n.Member == c.name || closed {
		return
	}
	level := slog.LevelInfo
	if n.Word == string(Lost) {
		level = slog.LevelWarn
	}
	c.log.Log(context.Background(), level, "member "+n.Word, "member", n.Member, "text", n.Text)
	c.tell(n)
}
