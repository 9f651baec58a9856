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


// The one place where the majors part. What differs between them has one name in the directory of each: core.h, what the core is asked; links.h, server links;
// parts.h, what the module is made of; user.h, how a user is made. All else of the module knows no version.

#pragma once

#ifndef MODNAME
# define MODNAME "m_handoff"
#endif

#include "newuser.h"

#if INSPIRCD_VERSION_SINCE(4, 0)
# include "v4/core.h"
# include "v4/links.h"
# include "v4/parts.h"
# include "v4/user.h"
#else
# include "v3/core.h"
# include "v3/links.h"
# include "v3/parts.h"
# include "v3/user.h"
#endif
