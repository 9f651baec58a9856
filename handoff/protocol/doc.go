// Package protocol is HANDOFF/1 on the wire: how a proxy (the coordinator) takes live users out of one ircd (the source) and
// puts them into another (the destination). HANDOFF.md beside this file is the standard; the code follows its words.
//
// The order of a move, and who calls what:
//
//	coordinator                         ircd
//	Dial, Control.Hello            ->   Server.ServeControl       facts, stream address, stream secret
//	AppendOpen on a stream         ->   Server.ServeStream        a new client
//	Control.Import, AppendAttach   ->   Ircd.Begin                the destination takes streams
//	Control.Export                 ->   Ircd.Freeze, Export       the source stops its world and tells its users
//	Control.Record, Prepare        ->   Ircd.Prepare              the destination builds them, unseen
//	Control.Release                ->   Ircd.Release              the source forgets them
//	Control.Commit                 ->   Ircd.Commit               the destination makes them live, in one turn
//
// Before Release every failure ends in Control.Resume and Control.Abort and nobody has noticed more than a pause. An ircd in Go
// implements the Ircd interface and gives its connections to a Server; all checks that the standard asks for are made there.
//
// The package imports nothing but the standard library.
package protocol
