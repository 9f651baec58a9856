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


// How InspIRCd 3 makes a user: newuser.h.

#pragma once

namespace Handoff
{
	inline LocalUser* Construct(int fd, NewUser& u) { return new LocalUser(fd, &u.client, &u.server); }

	inline void SetRest(LocalUser* user, const NewUser& u)
	{
		user->age = u.nts;
		user->ident = u.ident;
		user->awaymsg = u.away;
		user->awaytime = u.awayat;
		user->registered = REG_ALL;
	}

	inline void SetClass(LocalUser* user, ClassRef c) { user->MyClass = c; }

	/** The class that the ircd would choose, or none. */
	inline ClassRef ChooseClass(LocalUser* user)
	{
		user->SetClass();
		return user->MyClass;
	}
}
