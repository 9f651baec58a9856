/*
 * m_handoff: HANDOFF/1 for InspIRCd, so that a proxy can move live users between two processes.
 *
 *   Copyright (C) 2026 The ircferry authors
 *
 * This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public
 * License as published by the Free Software Foundation, version 2.
 *
 * This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even the implied
 * warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU General Public License for more details.
 *
 * You should have received a copy of the GNU General Public License along with this program; the file COPYING beside
 * this one says where it is if not.
 */


// How InspIRCd 3 makes a user who is there at once.

#pragma once

namespace Handoff
{
	/** Makes a registered user of a socket. Nobody is told. Its id is free. */
	inline LocalUser* MakeUser(int fd, const NewUser& u)
	{
		// The core's own constructor for serialised users.
		Serializable::Data data;
		Serializable::Data::EntryMap& entry = data.GetEntries(); // Store would write each into the debug log
		entry["age"] = ConvToStr(u.nts);
		entry["awaymsg"] = u.away;
		entry["awaytime"] = ConvToStr(u.awayat);
		entry["client_sa.addr"] = u.client.addr();
		entry["client_sa.port"] = ConvToStr(u.client.port());
		entry["displayhost"] = u.dhost == u.rhost ? "" : u.dhost;
		entry["ident"] = u.ident;
		entry["modes"] = "";
		entry["nick"] = u.nick;
		entry["oper"] = "";
		entry["realhost"] = u.rhost;
		entry["realname"] = u.real;
		entry["signon"] = ConvToStr(u.signon);
		entry["snomasks"] = "";
		entry["uniqueusername"] = ConvToStr(u.uniqueusername);
		entry["bytes_in"] = ConvToStr(u.bytesin);
		entry["bytes_out"] = ConvToStr(u.bytesout);
		entry["cmds_in"] = ConvToStr(u.linesin);
		entry["cmds_out"] = ConvToStr(u.linesout);
		entry["CommandFloodPenalty"] = "0";
		entry["exempt"] = "0";
		entry["idle_lastmsg"] = ConvToStr(u.spoke);
		entry["lastping"] = "1";
		entry["nextping"] = "0";
		entry["password"] = "";
		entry["server_sa.addr"] = u.server.addr();
		entry["server_sa.port"] = ConvToStr(u.server.port());

		LocalUser* const user = new LocalUser(fd, u.id, data);
		user->oper = nullptr; // the constructor gives everybody an empty operator type, and whoever has one is an operator
		user->quitting_sendq = 0;
		user->serializer = nullptr;
		user->registered = REG_ALL;
		return user;
	}
}
