"""The functions of SpatiaLite, an extension of SQLite for geometries, by what they do. All names are in lower case.

SQLite has no catalog of functions. These are those of https://www.gaia-gis.it/gaia-sins/spatialite-sql-latest.html as
far as a cache has to know them; what is in no list is unknown, and a query that calls it is not cached.
"""

from __future__ import annotations

#: Functions whose answers depend on their arguments and on the definitions of systems of coordinates alone
REPEATABLE = frozenset(
    """
    addpoint area asbinary asewkb asewkt asgeojson asgml askml assvg astext asx3d azimuth bdmpolyfromtext
    bdmpolyfromwkb bdpolyfromtext bdpolyfromwkb boundary buffer buildarea buildcirclembr buildmbr
    casttogeometrycollection casttolinestring casttomulti casttomultilinestring casttomultipoint casttomultipolygon
    casttopoint casttopolygon casttosingle casttoxy casttoxym casttoxyz casttoxyzm centroid circularity closestpoint
    collect collectionextract concavehull contains convexhull coorddimension coveredby covers crosses curvosityindex
    cvtfromch cvtfromcm cvtfromdm cvtfromfath cvtfromft cvtfromin cvtfromindch cvtfromindft cvtfromindyd cvtfromkm
    cvtfromkmi cvtfromlink cvtfrommi cvtfrommm cvtfromusch cvtfromusft cvtfromusin cvtfromusmi cvtfromusyd cvtfromyd
    cvttoch cvttocm cvttodm cvttofath cvttoft cvttoin cvttoindch cvttoindft cvttoindyd cvttokm cvttokmi cvttolink
    cvttomi cvttomm cvttousch cvttousft cvttousin cvttousmi cvttousyd cvttoyd delaunaytriangulation difference
    dimension disjoint dissolvepoints dissolvesegments distance downhillheight endpoint ensureclosedrings envelope
    equals extent exteriorring extractmultilinestring extractmultipoint extractmultipolygon frechetdistance garsmbr
    geodesicarcarea geodesicarcheight geodesicarclength geodesiccentralangle geodesicchordlength geodesiclength
    geohash geomcollfromtext geomcollfromwkb geometrycollectionfromtext geometrycollectionfromwkb geometryconstraints
    geometryfromtext geometryfromwkb geometryn geometrytype geomfromewkb geomfromewkt geomfromgeojson geomfromgml
    geomfromkml geomfromtext geomfromtwkb geomfromwkb glength greatcirclelength gunion hausdorffdistance hexagonalgrid
    interiorringn intersection intersects isclosed isempty isgeometryblob isring issimple isvalid isvaliddetail
    isvalidreason line_interpolate_equidistant_points line_interpolate_point line_locate_point line_substring
    linefromtext linefromwkb linemerge linescutatnodes linesfromrings linestringavgsegmentlength linestringfromtext
    linestringfromwkb linestringmaxsegmentlength linestringminsegmentlength m makearc makecircle makecircularsector
    makecircularstripe makeellipse makeellipticarc makeellipticsector makeline makepoint makepointm makepointz
    makepointzm makepolygon makevalid makevaliddiscarded maxdistance mbrcontains mbrdisjoint mbrequal mbrintersects
    mbrmaxx mbrmaxy mbrminx mbrminy mbroverlaps mbrtouches mbrwithin mlinefromtext mlinefromwkb mpointfromtext
    mpointfromwkb mpolyfromtext mpolyfromwkb multilinestringfromtext multilinestringfromwkb multipointfromtext
    multipointfromwkb multipolygonfromtext multipolygonfromwkb normalizelonlat numgeometries numinteriorring
    numinteriorrings numpoints offsetcurve overlaps perimeter pointfromtext pointfromwkb pointn pointonsurface
    polyfromtext polyfromwkb polygonfromtext polygonfromwkb polygonize project ptdistwithin reflectcoordinates
    reflectcoords relate removepoint removerepeatedpoints ringscutatnodes rotatecoordinates rotatecoords
    sanitizegeometry scalecoordinates scalecoords segmentize selfintersections setendpoint setpoint setsrid
    setstartpoint sharedpaths shiftcoordinates shiftcoords shortestline simplify simplifypreservetopology
    singlesidedbuffer snap snapandsplit snaptogrid split splitleft splitright squaregrid srid sridfromauthcrs
    sridgetaxis_1_name sridgetaxis_1_orientation sridgetaxis_2_name sridgetaxis_2_orientation sridgetdatum
    sridgetellipsoid sridgetprimemeridian sridgetprojection sridgetspheroid sridgetunit sridhasflippedaxes
    sridisgeographic sridisprojected st_3ddistance st_3dlength st_3dmaxdistance st_addmeasure st_addpoint st_area
    st_asbinary st_asencodedpolyline st_astext st_asx3d st_azimuth st_bdmpolyfromtext st_bdmpolyfromwkb
    st_bdpolyfromtext st_bdpolyfromwkb st_boundary st_buffer st_buildarea st_centroid st_closestpoint st_collect
    st_collectionextract st_concavehull st_contains st_convexhull st_coveredby st_covers st_crosses st_curvosityindex
    st_delaunaytriangulation st_difference st_dimension st_disjoint st_dissolvepoints st_dissolvesegments st_distance
    st_downhillheight st_endpoint st_envelope st_envelopesintersects st_envintersects st_equals st_expand
    st_exteriorring st_forcelhr st_forcepolygonccw st_forcepolygoncw st_frechetdistance st_generalize st_geohash
    st_geomcollfromtext st_geomcollfromwkb st_geometrycollectionfromtext st_geometrycollectionfromwkb
    st_geometryfromtext st_geometryfromwkb st_geometryn st_geometrytype st_geomfromtext st_geomfromwkb
    st_hausdorffdistance st_hexagonalgrid st_interiorringn st_interpolatepoint st_intersection st_intersects st_is3d
    st_isclosed st_isempty st_ismeasured st_ispolygonccw st_ispolygoncw st_isring st_issimple st_isvalid
    st_isvaliddetail st_isvalidreason st_isvalidtrajectory st_length st_line_interpolate_equidistant_points
    st_line_interpolate_point st_line_locate_point st_line_substring st_linefromencodedpolyline st_linefromtext
    st_linefromwkb st_linemerge st_linescutatnodes st_linesfromrings st_linestringavgsegmentlength
    st_linestringfromtext st_linestringfromwkb st_linestringmaxsegmentlength st_linestringminsegmentlength
    st_locate_along_measure st_locate_between_measures st_locatealong st_locatebetween st_m st_makepolygon
    st_makevalid st_makevaliddiscarded st_maxdistance st_maxm st_maxx st_maxy st_maxz st_minm st_minx st_miny st_minz
    st_mlinefromtext st_mlinefromwkb st_mpointfromtext st_mpointfromwkb st_mpolyfromtext st_mpolyfromwkb st_multi
    st_multilinestringfromtext st_multilinestringfromwkb st_multipointfromtext st_multipointfromwkb
    st_multipolygonfromtext st_multipolygonfromwkb st_ndims st_node st_npoints st_nrings st_numgeometries
    st_numinteriorring st_numpoints st_offsetcurve st_overlaps st_perimeter st_point st_pointfromtext st_pointfromwkb
    st_pointn st_pointonsurface st_polyfromtext st_polyfromwkb st_polygonfromtext st_polygonfromwkb st_polygonize
    st_project st_relate st_removepoint st_reverse st_ringscutatnodes st_segmentize st_selfintersections
    st_setendpoint st_setpoint st_setstartpoint st_sharedpaths st_shift_longitude st_shortestline st_simplify
    st_simplifypreservetopology st_singlesidedbuffer st_snap st_snapandsplit st_snaptogrid st_split st_splitleft
    st_splitright st_squaregrid st_srid st_startpoint st_subdivide st_symdifference st_touches
    st_trajectoryinterpolatepoint st_transform st_transformxy st_transformxyz st_translate st_triangulargrid
    st_unaryunion st_union st_updownheight st_uphillheight st_voronojdiagram st_within st_wkbtosql st_wkttosql st_x
    st_y st_z startpoint swapcoordinates swapcoords symdifference togars touches transform transformxy transformxyz
    triangulargrid unaryunion updownheight uphillheight voronojdiagram within x y z
    """.split()
)

#: Functions that create, change or drop tables, triggers, indexes, or rows of tables that their arguments name
CHANGE_DATABASE = frozenset(
    """
    addfdogeometrycolumn addgeometrycolumn addtemporarygeometrycolumn autofdostart autofdostop autogpkgstart
    autogpkgstop clonetable createclonedtable createisometadatatables creatembrcache createmetacatalogtables
    createmissingsystemtables createnetwork createrastercoveragestable createrouting createroutingnodes
    createspatialindex createstylingtables createtemporaryspatialindex createtopology createtopotables
    createvectorcoveragestables disablespatialindex discardfdogeometrycolumn discardgeometrycolumn dropgeotable
    dropnetwork droptable droptopology dropvirtualgeometry gpkgaddgeometrycolumn gpkgaddgeometrytriggers
    gpkgaddspatialindex gpkgaddtiletriggers gpkgcreatebasetables gpkgcreatetilestable gpkgcreatetileszoomlevel
    gpkginsertepsgsrid initadvancedmetadata initfdospatialmetadata initspatialmetadata initspatialmetadatafull
    insertepsgsrid invalidatelayerstatistics rebuildgeometrytriggers recoverfdogeometrycolumn recovergeometrycolumn
    recoverspatialindex recreaterastercoveragestriggers recreatestylingtriggers recreatetopotriggers
    recreatevectorcoveragestriggers registerdatalicense registerisometadata registervirtualgeometry
    removeduplicaterows renamecolumn renamedatalicense renametable rl2_registermapconfiguration
    rl2_reloadmapconfiguration rl2_unregistermapconfiguration rtreealign se_autoregisterstandardbrushes
    se_registerexternalgraphic se_registerrastercoveragekeyword se_registerrastercoveragesrid se_registerrasterstyle
    se_registerrasterstyledlayer se_registerspatialviewcoverage se_registertopogeocoverage se_registertoponetcoverage
    se_registervectorcoverage se_registervectorcoveragekeyword se_registervectorcoveragesrid se_registervectorstyle
    se_registervectorstyledlayer se_registervirtualgeojsoncoverage se_registervirtualshapecoverage
    se_registervirtualtablecoverage se_reloadrasterstyle se_reloadvectorstyle se_setvectorcoveragecopyright
    se_setvectorcoverageinfos se_unregisterexternalgraphic se_unregisterrastercoveragekeyword
    se_unregisterrastercoveragesrid se_unregisterrasterstyle se_unregisterrasterstyledlayer
    se_unregistervectorcoverage se_unregistervectorcoveragekeyword se_unregistervectorcoveragesrid
    se_unregistervectorstyle se_unregistervectorstyledlayer se_updaterastercoverageextent
    se_updatevectorcoverageextent setdatalicenseurl sqlproc_execute sqlproc_executeloop st_addedgemodface
    st_addedgenewfaces st_addisoedge st_addisonetnode st_addisonode st_addlink st_changeedgegeom st_changelinkgeom
    st_createtopogeo st_cutter st_inittopogeo st_inittoponet st_loginetfromtgeo st_modedgeheal st_modedgesplit
    st_modgeolinksplit st_modlinkheal st_modloglinksplit st_moveisonetnode st_moveisonode st_newedgeheal
    st_newedgessplit st_newgeolinksplit st_newlinkheal st_newloglinksplit st_remedgemodface st_remedgenewface
    st_remisoedge st_remisonetnode st_remisonode st_removelink st_spatnetfromgeom st_spatnetfromtgeo
    storedproc_createtables storedproc_delete storedproc_execute storedproc_executeloop storedproc_register
    storedproc_updatesqlbody storedproc_updatetitle storedvar_delete storedvar_register storedvar_updatetitle
    storedvar_updatevalue temporaryrtreealign topogeo_addlinestring topogeo_addlinestringnoface topogeo_addpoint
    topogeo_clone topogeo_createtopolayer topogeo_disambiguatesegmentedges topogeo_exporttopolayer
    topogeo_fromgeotable topogeo_fromgeotableext topogeo_fromgeotablenoface topogeo_fromgeotablenofaceext
    topogeo_getedgeseed topogeo_getfaceseed topogeo_inittopolayer topogeo_insertfeaturefromtopolayer
    topogeo_lineedgeslist topogeo_modedgeheal topogeo_modedgesplit topogeo_newedgeheal topogeo_newedgessplit
    topogeo_polyfaceslist topogeo_polygonize topogeo_removedanglingedges topogeo_removedanglingnodes
    topogeo_removesmallfaces topogeo_removetopolayer topogeo_snaplinetoseed topogeo_snappedgeotable
    topogeo_snappointtoseed topogeo_subdividelines topogeo_togeotable topogeo_togeotablegeneralize topogeo_toposnap
    topogeo_updateseeds toponet_clone toponet_disambiguatesegmentlinks toponet_fromgeotable toponet_getlinkseed
    toponet_linelinkslist toponet_togeotable toponet_togeotablegeneralize toponet_updateseeds unregisterdatalicense
    updatelayerstatistics updatemetacatalogstatistics upgradegeometrytriggers wms_createtables
    wms_registergetcapabilities wms_registergetmap wms_registerrefsys wms_registersetting wms_setgetcapabilitiesinfos
    wms_setgetmapcopyright wms_setgetmapinfos wms_setgetmapoptions wms_unregistergetcapabilities wms_unregistergetmap
    wms_unregisterrefsys wms_unregistersetting
    """.split()
)

#: Functions that change what others answer on the same connection
CHANGE_SESSION = frozenset(
    """
    bufferoptions_reset bufferoptions_setendcapstyle bufferoptions_setjoinstyle bufferoptions_setmitrelimit
    bufferoptions_setquadrantsegments disablegpkgamphibiousmode disablegpkgmode disabletinypoint
    enablegpkgamphibiousmode enablegpkgmode enabletinypoint proj_setdatabasepath setdecimalprecision
    """.split()
)
